"""Kling's cases against the emulator of each edition, over HTTP: the status and the code are the case's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import requests

from infra.emulator import Config, Emulator
from infra.emulator.config import Edition
from tests.contract.test_cases import CASES, CREATES, ELSEWHERE, expanded
from tests.integration.emulator_kit import Client

Editions = dict[tuple[str, bool], Client]

_ELSEWHERE = [
    pytest.param(case, edition, id=f"{case['id']}-{edition}")
    for case in CASES
    if case["id"] in ELSEWHERE
    for edition in case["editions"]
]


@contextmanager
def serving(edition: str, *, strict: bool = False, concurrency: int = 100_000) -> Iterator[Client]:
    """A client of an emulator of an edition."""
    config = Config(edition=Edition(edition), strict=strict, concurrency=concurrency, speed=1e6, log=False)
    with Emulator(config) as emulator:
        client = Client(emulator)
        with client.session:
            yield client


@pytest.fixture(scope="module")
def editions() -> Iterator[Editions]:
    """An emulator of each edition, once as it is, and once refusing what sources disagree about."""
    with ExitStack() as stack:
        yield {
            (edition, strict): stack.enter_context(serving(edition, strict=strict))
            for edition in Edition
            for strict in (False, True)
        }


def played(case: dict[str, Any]) -> dict[str, Any]:
    """A case's body, with its media where nobody answers instead of at a name to be looked up."""
    text = json.dumps(expanded(case.get("body", {})))
    return dict(json.loads(text.replace("https://ex.test/", "http://127.0.0.1:9/")))


def seen(answer: requests.Response) -> tuple[int, int]:
    """What a case tells of an answer."""
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize(("case", "edition"), CREATES)
def test_a_create_is_answered_as_the_case_says(editions: Editions, case: dict[str, Any], edition: str) -> None:
    """HTTP status and code are the case's; what only a strict reading refuses is asked of a strict emulator."""
    path = str(case["endpoint"]).removeprefix("POST ")
    kinds = (case.get("context") or {}).get("elements")
    if kinds:
        with serving(edition) as client:
            client.session.post(f"{client.emulator.url}/_emulator/characters", json=list(kinds)).raise_for_status()
            answer = client.post(path, **played(case))
    else:
        answer = editions[edition, case.get("tolerance") == "strict"].post(path, **played(case))

    assert (case["http"], case["code"]) == seen(answer), answer.text


@pytest.mark.parametrize(("case", "edition"), _ELSEWHERE)
def test_what_is_no_question_of_the_body_is_answered_as_the_case_says(
    editions: Editions, case: dict[str, Any], edition: str
) -> None:
    """Paging, ids, credentials, methods and slots, each as its endpoint describes it."""
    client = editions[edition, False]
    answer = _HOW[case["id"]](client, case) if case["id"] in _HOW else _as_written(client, case)

    assert (case["http"], case["code"]) == seen(answer), answer.text


def _as_written(client: Client, case: dict[str, Any]) -> requests.Response:
    method, path = str(case["endpoint"]).split(" ")
    return client.session.request(method, client.emulator.url + path, json=case.get("body"))


def _by_external_id(client: Client, _case: dict[str, Any]) -> requests.Response:
    path = "/v1/videos/omni-video"
    task_id = client.create(path, prompt="a cat [fate: fail]", aspect_ratio="1:1", external_task_id="mine-195")
    answer = client.get(f"{path}/mine-195")
    assert task_id == answer.json()["data"]["task_id"]
    return answer


def _unsigned(client: Client, case: dict[str, Any]) -> requests.Response:
    return requests.post(f"{client.emulator.url}/v1/videos/omni-video", json=case["body"], timeout=100)


def _over_the_slots(client: Client, case: dict[str, Any]) -> requests.Response:
    with serving(str(client.emulator.config.edition), concurrency=5) as narrow:
        return narrow.post("/v1/images/generations", **case["body"])


_HOW = {"K195": _by_external_id, "K197": _unsigned, "K203": _over_the_slots}


def test_every_case_is_played_here_or_is_of_media_or_of_the_new_design() -> None:
    """None is left out by accident. Media are judged late, by failing the task: `test_emulator_media` plays them."""
    played_here = {param.values[0]["id"] for param in (*CREATES, *_ELSEWHERE)}  # type: ignore[index]  # pytest's own type is wider
    left = {case["id"] for case in CASES} - played_here

    assert left == {
        case["id"] for case in CASES if case["endpoint"].startswith("media for ") or case["rule"].startswith("R14")
    }
