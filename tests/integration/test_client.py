"""The client that users may copy, against the real door."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.fakes import MORNING
from tests.house import TEXT, House
from webhook import client as client_of_ours
from webhook.client import BadWebhook, Reelhook, ReelhookError, progress_bar, verify_webhook
from worker.jobs import signing
from worker.jobs.signing import Signing

FAMILY = "videos/omni-video"
SECRET, OTHER = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ=", "whsec_b3RoZXItb3RoZXItb3RoZXI="


def test_submit_wait_and_look(home: House, capsys: pytest.CaptureFixture[str]) -> None:
    """A job from the first call to its file, with a bar on the way; task, list and job agree."""
    client = Reelhook(home.url, home.key)
    task_id = client.submit(FAMILY, {**TEXT, "external_task_id": "mine"})["task_id"]
    worker = threading.Thread(target=home.until_end, args=(task_id,))
    worker.start()
    job = client.wait(task_id, every=0.05, seconds=60, tell=progress_bar("a cat"))
    worker.join()

    assert "archived" == job["state"]
    assert "succeed" == client.task(FAMILY, "mine")["task_status"]
    assert [task_id] == [task["task_id"] for task in client.tasks(FAMILY)]
    assert "archived" in capsys.readouterr().out


def test_a_refusal_is_an_error_with_kling_s_code(home: House) -> None:
    """What the door refuses is raised with code, status and words."""
    client = Reelhook(home.url, home.key, check="strict")
    with pytest.raises(ReelhookError, match="duration") as caught:
        client.submit(FAMILY, {**TEXT, "duration": 5})
    with pytest.raises(ReelhookError) as missing:
        client.job("nobody")
    with pytest.raises(ReelhookError) as stranger:
        Reelhook(home.url, "rk_wrong").tasks(FAMILY)

    assert (400, 1201) == (caught.value.http_status, caught.value.code)
    assert (404, None) == (missing.value.http_status, missing.value.code)
    assert (401, 1002) == (stranger.value.http_status, stranger.value.code)


def test_waiting_ends(home: House) -> None:
    """A job that nobody works on is not waited for without end."""
    client = Reelhook(home.url, home.key)
    with pytest.raises(TimeoutError, match="accepted"):
        client.wait(client.submit(FAMILY, TEXT)["task_id"], seconds=0.2, every=0.05)


def attempt(keys: list[str], at: datetime | None = None) -> dict[str, str]:
    """The headers of an attempt that was signed with `keys`, just now unless said."""
    return signing.headers(keys, "msg_1", at or datetime.now(UTC), '{"a": 1}')


def test_a_delivery_verifies_with_any_of_its_keys() -> None:
    """Either secret is taken while one replaces another; a public key verifies what its private half signed."""
    private = signing.new_secret(Signing.V1A)
    public = str(signing.public_key(private))
    body = b'{"a": 1}'

    assert {"a": 1} == verify_webhook(SECRET, attempt([SECRET]), body)
    assert {"a": 1} == verify_webhook([OTHER, SECRET], attempt([SECRET]), body)
    assert {"a": 1} == verify_webhook(SECRET, attempt([OTHER, SECRET]), body)
    assert {"a": 1} == verify_webhook([public], attempt([private]), body)
    assert {"a": 1} == verify_webhook(SECRET, {k.title(): v for k, v in attempt([SECRET]).items()}, body)


@pytest.mark.parametrize("side", [1, -1])
def test_a_skewed_delivery_is_refused(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    """What is more than five minutes old, or ahead, is not taken, however well it is signed."""
    monkeypatch.setattr(client_of_ours, "time", SimpleNamespace(time=MORNING.timestamp))
    just, late = (attempt([SECRET], MORNING - timedelta(seconds=seconds * side)) for seconds in (300, 301))

    assert {"a": 1} == verify_webhook(SECRET, just, b'{"a": 1}')
    with pytest.raises(BadWebhook, match="too old"):
        verify_webhook(SECRET, late, b'{"a": 1}')


def test_a_replayed_delivery_is_refused() -> None:
    """The same webhook-id is taken once; a forgery does not use an id up."""
    met: set[str] = set()

    def seen(name: str) -> bool:
        before = name in met
        met.add(name)
        return before

    with pytest.raises(BadWebhook, match="no signature"):
        verify_webhook(SECRET, attempt([OTHER]), b'{"a": 1}', seen=seen)
    verify_webhook(SECRET, attempt([SECRET]), b'{"a": 1}', seen=seen)
    with pytest.raises(BadWebhook, match="came before"):
        verify_webhook(SECRET, attempt([SECRET]), b'{"a": 1}', seen=seen)


@pytest.mark.parametrize("how", list(Signing))
@given(data=st.data())
@settings(max_examples=60)
def test_a_forged_delivery_is_refused(how: Signing, data: st.DataObject) -> None:
    """Whatever is changed of id, time, body or signature: it is refused with the one error, for any bytes."""
    secret = signing.new_secret(how)
    key = signing.public_key(secret) or secret
    headers, body = attempt([secret]), b'{"a": 1}'
    before = (dict(headers), body, key)
    place = data.draw(st.sampled_from([*headers, "body", "key"]))
    anything = data.draw(st.text(max_size=80) | st.binary(max_size=64).map(lambda raw: raw.decode("latin-1")))
    if place == "body":
        body = anything.encode("utf-8", "replace")
    elif place == "key":
        key = data.draw(st.sampled_from(["whsec_", "whpk_", ""])) + anything
    else:
        headers[place] = anything
    assume((headers, body, key) != before)
    with pytest.raises(BadWebhook):
        verify_webhook(key, headers, body)


def test_the_client_can_be_copied(root: Path) -> None:
    """It imports nothing of ours."""
    text = (root / "webhook/client.py").read_text()

    assert [] == [line for line in text.splitlines() if line.startswith(("from webhook", "from worker", "from infra"))]
