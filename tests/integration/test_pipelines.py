"""Requests that stand on earlier jobs, from the door to the archive: what waits, what begins, what falls with what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from infra.emulator import Config, Emulator
from infra.stack.servers import Servers
from tests.house import House, house
from tests.receiver import Receiver, receiver
from worker import messages
from worker.jobs.model import State

IMAGE, I2V, EXTEND = "/v1/images/generations", "/v1/videos/image2video", "/v1/videos/video-extend"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """A Kling whose minutes are moments."""
    with Emulator(Config(speed=3000, log=False)) as running:
        yield running


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator) -> Iterator[House]:
    """A house with a second account at the same Kling."""
    config = emulator.config
    other = emulator.url.replace("://", f"://{config.access_key}:{config.secret_key}@")
    with house(servers.addresses, engine, emulator, KLING_PACE="0.001", KLING_URL_OTHER=other) as opened:
        yield opened


@pytest.fixture
def app() -> Iterator[Receiver]:
    """An app that is told."""
    with receiver() as listening:
        yield listening


def ask(home: House, path: str, **body: Any) -> str:
    """The id of a new job of any family."""
    answer = home.post(body, path)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["task_id"])


def three(home: House, fate: str = "", **changes: Any) -> tuple[str, str, str]:
    """An image, a video of it, and more of that video."""
    first = ask(home, IMAGE, prompt=f"a cat{fate}", external_task_id="a/cat", **changes)
    second = ask(home, I2V, image="reelhook://a%2Fcat/files/0", prompt="it jumps", **changes)
    third = ask(home, EXTEND, video_id=f"reelhook://{second}/video_id", prompt="and lands", after=first, **changes)
    return first, second, third


def shown(home: House, job: str) -> dict[str, Any]:
    """A job as our own API shows it."""
    answer: dict[str, Any] = home.get(f"/api/jobs/{job}").json()
    return answer


def test_a_chain_of_three_is_one(home: House, app: Receiver) -> None:
    """Image, image2video of it, extend of that: each starts when its predecessor is archived, all end archived."""
    first, second, third = three(home, callback_url=app.url)
    before = shown(home, second)
    for job in (third, second):
        home.run((messages.SUBMIT, "submit", (job,)))
    status = home.get(f"{EXTEND}/{third}").json()["data"]["task_status"]
    waiting = [home.state(job) for job in (second, third)]

    assert [State.ARCHIVED] * 3 == home.until_end(first, second, third)
    assert [State.WAITING] * 2 == waiting
    assert ([first], [third]) == (before["after"], before["then"])
    assert {"state": "accepted", "archived": 0, "of": 3} == {k: v for k, v in before["chain"].items() if k != "jobs"}
    assert "submitted" == status
    after = shown(home, third)
    assert [first, second, third] == [one["id"] for one in after["chain"]["jobs"]]
    assert ("archived", 3, 3) == (after["chain"]["state"], after["chain"]["archived"], after["chain"]["of"])
    assert {first, second, third} == {told["task_id"] for told in app.bodies}
    assert [1, 1, 1] == [home.creates()[job] for job in (first, second, third)]
