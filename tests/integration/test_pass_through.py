"""The synchronous rest of Kling's API, through the door to the account and back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from sqlalchemy import Engine, func, select

from infra.emulator import Config, Emulator
from infra.stack.servers import Servers
from tests.house import House, house
from tests.listener import reply, server
from worker.store.tables import jobs


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """A Kling with its synchronous services."""
    with Emulator(Config(log=False)) as running:
        yield running


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator) -> Iterator[House]:
    """A house with an account at the emulator, another nobody answers at, and one whose key is wrong."""
    others = {
        "KLING_URL_NOWHERE": "http://KEY@127.0.0.1:9",
        "KLING_URL_WRONG": emulator.url.replace("://", "://wrong-key@"),
        "MAX_BODY_BYTES": "20000",
    }
    with house(servers.addresses, engine, emulator, **others) as opened:
        yield opened


def test_what_kling_answers_is_answered(home: House) -> None:
    """Speech, presets and costs come back in Kling's own envelope, by either prefix, and make no job."""
    speech = {"text": "hello", "voice_id": "genshin_vindi2", "voice_language": "en"}
    answers = [
        home.post(speech, "/kling/v1/audio/tts"),
        home.get("/v1/general/presets-voices?pageNum=1&pageSize=5"),
        home.get("/v1/general/advanced-presets-elements"),
        home.get("/account/costs?start_time=0&end_time=9999999999999"),
    ]

    assert [(200, 0)] * 4 == [(answer.status_code, answer.json()["code"]) for answer in answers], answers[0].text
    with home.services.engine.connect() as connection:
        assert 0 == connection.execute(select(func.count()).select_from(jobs)).scalar_one()


def test_what_kling_refuses_is_refused_in_its_words(home: House) -> None:
    """A wrong request gets Kling's own code and message."""
    answer = home.post({"voice_id": "nobody"}, "/v1/general/delete-voices")

    assert answer.status_code >= 400
    assert answer.json()["code"] in {1201, 1203}


@pytest.mark.parametrize(
    ("account", "status", "code"), [("nowhere", 503, 5001), ("wrong", 503, 5001), ("x", 400, 1201)]
)
def test_an_account_that_does_not_answer_is_said(home: House, account: str, status: int, code: int) -> None:
    """Nobody there, a key that Kling refuses, an account that there is not: each its own answer, never a 401."""
    headers = {**home.headers, "Reelhook-Account": account}
    answer = requests.get(home.url + "/v1/general/presets-voices", headers=headers, timeout=30)

    assert (status, code) == (answer.status_code, answer.json()["code"])


def test_strangers_and_floods_do_not_pass(home: House) -> None:
    """Without a key 1001, with a body over the limit 413, with noise 1201: Kling is not asked."""
    url = home.url + "/v1/audio/tts"

    assert 1001 == requests.post(url, json={}, timeout=30).json()["code"]
    assert 413 == home.post({"text": "x" * 30_000}, "/v1/audio/tts").status_code
    assert 1201 == requests.post(url, data=b"{", headers=home.headers, timeout=30).json()["code"]


def test_how_long_kling_wants_to_be_left_alone_is_said_on(servers: Servers, engine: Engine, emulator: Emulator) -> None:
    """The caller is who can heed it here."""
    said = '{"code": 1302, "message": "busy"}'
    head = f"HTTP/1.1 429 Busy\r\nRetry-After: 7\r\nContent-Type: application/json\r\nContent-Length: {len(said)}"
    with (
        server(reply(f"{head}\r\n\r\n{said}")) as port,
        house(servers.addresses, engine, emulator, KLING_URL_BUSY=f"http://KEY@127.0.0.1:{port}") as home,
    ):
        headers = {**home.headers, "Reelhook-Account": "busy"}
        answer = requests.get(home.url + "/v1/general/presets-voices", headers=headers, timeout=30)

    assert (429, "7", 1302) == (answer.status_code, answer.headers.get("Retry-After"), answer.json()["code"])
