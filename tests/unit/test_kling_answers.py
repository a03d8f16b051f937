"""Answers as they were recorded or documented, each with what it must be read as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worker.kling import errors, wire
from worker.kling.gateways import parse_account
from worker.kling.wire import read_task

FOLDER = Path(__file__).parent.parent / "samples/kling/answers"
SAMPLES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if "task_id" in sample["expected"]])
def test_a_recorded_task_is_read(name: str) -> None:
    """Id, state, our own id and every file, whoever answered."""
    sample = SAMPLES[name]
    task = read_task(sample["status"], {}, json.dumps(sample["body"]).encode())
    seen: dict[str, Any] = {
        "task_id": task.task_id,
        "status": task.status.value,
        "external_task_id": task.external_task_id,
        "outputs": [[one.kind, one.variant, one.ordinal] for one in task.outputs],
    }

    assert sample["expected"] == seen


@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if "error" in sample["expected"]])
def test_a_recorded_error_is_named(name: str) -> None:
    """Its class, what follows from it, and Kling's number where there is one."""
    sample = SAMPLES[name]
    with pytest.raises(errors.KlingError) as caught:
        read_task(sample["status"], {}, json.dumps(sample["body"]).encode())
    fault = caught.value

    assert sample["expected"] == {"error": type(fault).__name__, "retry": fault.retry.value, "code": fault.code}
    assert fault.message


def test_times_are_in_milliseconds() -> None:
    """A gateway that counts seconds is understood."""
    body = json.dumps(SAMPLES["anyfast-create"]["body"]).encode()

    assert 1774711071000 == read_task(200, {}, body).created_at_ms


def test_what_a_failed_task_says_carries_no_secret() -> None:
    """The reason goes into logs and pages: an address in it loses its query."""
    data = {"task_id": "1", "task_status": "failed", "task_status_msg": "cannot fetch https://b/k.png?sig=s3cr3t"}
    task = read_task(200, {}, json.dumps({"code": 0, "data": data}).encode())

    assert task.message == "cannot fetch https://b/k.png?…"


def test_a_call_can_be_printed() -> None:
    """Neither the credential nor the body appears."""
    account = parse_account("https://s3cr3t@gateway.example/kling")
    call = wire.create(account, "videos/omni-video", {"image": "QUJD"}, callback_url="", external_task_id="1", now=0)

    assert "s3cr3t" not in repr(call)
    assert "QUJD" not in repr(call)
