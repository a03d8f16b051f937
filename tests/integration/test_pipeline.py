"""The main job and its faults, over the real door, rows, bucket and emulator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO

import pytest
import requests
from sqlalchemy import Engine

from infra.emulator import Emulator
from infra.media import probe
from infra.stack.process import wait_until
from infra.stack.servers import Servers
from infra.stills import probe_image
from tests.house import House, house
from tests.receiver import Receiver
from worker.jobs.model import State


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator) -> Iterator[House]:
    """A house with an open door, and an account at the emulator."""
    with house(servers.addresses, engine, emulator, KLING_PACE="0.001") as opened:
        yield opened


def proven(home: House, job_id: str) -> dict[str, object]:
    """P2: every file of a job is in the bucket, and is what its row and its manifest say. Returns the first."""
    shown = home.get(f"/api/jobs/{job_id}").json()
    bucket = home.services.bucket
    for file in shown["files"]:
        body = requests.get(file["url"], timeout=30).content
        assert (file["size"], file["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        facts = probe(BytesIO(body))
        assert (file["width"], file["height"], file["duration"]) == (facts.width, facts.height, facts.duration)
        for picture in ("poster", "sheet"):
            shown_there = requests.get(file[f"{picture}_url"], timeout=30).content
            assert shown_there == bucket.read(file[f"{picture}_key"], 0, 2**20)
            assert probe_image(shown_there).container == "jpeg"
    manifest = json.loads(bucket.read(shown["manifest_key"], 0, 2**20))
    assert [file["sha256"] for file in shown["files"]] == [file["sha256"] for file in manifest["files"]]
    assert home.uploads() == 0
    first: dict[str, object] = shown["files"][0]
    return first


def test_from_a_request_to_a_proven_file(home: House, app: Receiver) -> None:
    """The main job: asked for, submitted once, called back, archived, proven, announced with links that open."""
    job_id = home.submit(prompt="a cat on a skateboard", callback_url=app.url, external_task_id="mine")

    assert [State.ARCHIVED] == home.until_end(job_id)
    file = proven(home, job_id)
    assert (1280, 720, 5.0) == (file["width"], file["height"], file["duration"])
    assert {job_id: 1} == {name: count for name, count in home.creates().items() if name == job_id}
    (told,) = app.bodies
    assert (job_id, "succeed") == (told["task_id"], told["task_status"])
    assert {"external_task_id": "mine"} == told["task_info"]
    app.verify(home.settings.secret_key.get_secret_value())
    assert requests.get(told["task_result"]["videos"][0]["url"], timeout=10).status_code == 200


def test_a_caller_sees_a_job_in_kling_s_own_shape(home: House) -> None:
    """Query by either id and the list show the same task, with a link into our bucket."""
    job_id = home.submit(external_task_id="mine")
    home.until_end(job_id)
    by_id = home.get(f"/v1/videos/omni-video/{job_id}").json()
    by_own = home.get("/kling/v1/videos/omni-video/mine/").json()
    listed = home.get("/v1/videos/omni-video?pageNum=1&pageSize=10").json()

    assert {"code", "message", "request_id", "data"} == set(by_id)
    assert by_id["data"]["task_id"] == by_own["data"]["task_id"] == listed["data"][0]["task_id"] == job_id
    assert by_id["data"]["task_status"] == "succeed"
    assert by_id["data"]["task_result"]["videos"][0]["url"].startswith(home.settings.s3_endpoint_url)


@pytest.mark.parametrize(
    "fate",
    ["no_callback", "callback_twice", "callback_late=0.5", "callback_early=0.5", "callback_before_reply", "fast"],
)
def test_callbacks_may_come_as_they_like(home: House, app: Receiver, fate: str) -> None:
    """P1, P3, P4: lost, doubled, late, early, before the reply: one create, one archive, one announcement."""
    job_id = home.submit(prompt=f"a cat [fate: {fate}]", callback_url=app.url)

    assert [State.ARCHIVED] == home.until_end(job_id)
    proven(home, job_id)
    assert home.creates()[job_id] == 1
    assert 1 == len(app.bodies)
    if fate == "no_callback":
        assert (0, 0, 1) == home.services.inbox.health(home.clock() - timedelta(days=1))[:3]


def test_a_failed_task_is_told_with_its_reason(home: House, app: Receiver) -> None:
    """A task that Kling fails ends as failed, with Kling's words, and leaves nothing in the bucket."""
    before = home.objects()
    job_id = home.submit(prompt="a cat [fate: fail]", callback_url=app.url)

    assert [State.FAILED] == home.until_end(job_id)
    assert "risk control" in app.bodies[0]["task_status_msg"]
    assert before == home.objects()


@pytest.mark.parametrize("fault", ["drop_after", "error_500_after", "error_504_after", "html_200_after"])
def test_an_ambiguous_create_is_looked_up_not_repeated(home: House, fault: str) -> None:
    """P4: the create was taken and its answer lost; the task is found by our id, and Kling was asked once."""
    home.fault("create", fault)
    job_id = home.submit()

    assert [State.ARCHIVED] == home.until_end(job_id, hurry=1)
    assert home.creates()[job_id] == 1


@pytest.mark.parametrize("fault", ["drop_before", "error_500", "error_503", "html_200"])
def test_a_create_is_repeated_only_once_proven_absent(home: House, fault: str) -> None:
    """P4: the create never arrived; look-ups prove that before another one leaves."""
    home.fault("create", fault)
    job_id = home.submit()

    assert [State.ARCHIVED] == home.until_end(job_id, hurry=5)
    assert home.timeline(job_id)[:4] == ["accepted", "submitting", "accepted", "submitting"]


@pytest.mark.parametrize("fault", ["status_429_1302", "status_429_1303", "status_429_1102"])
def test_a_job_that_must_wait_is_not_lost(home: House, fault: str) -> None:
    """P1: no slot, too fast, or no credit: the job waits as a row and is submitted later."""
    home.fault("create", fault, times=2)
    job_id = home.submit()

    assert [State.ARCHIVED] == home.until_end(job_id, hurry=10)


@pytest.mark.parametrize("fault", ["drop", "error_500", "html_200", "not_found"])
def test_a_query_that_fails_is_asked_again(home: House, fault: str) -> None:
    """P1: while Kling can't say what is true, nothing is decided."""
    job_id = home.submit()
    home.drain()
    home.fault("query", fault, times=3)

    assert [State.ARCHIVED] == home.until_end(job_id, hurry=2)


@pytest.mark.parametrize("fault", ["drop", "truncate", "wrong_length", "http_403", "http_404", "html_200"])
def test_a_result_that_does_not_hold_is_fetched_again(home: House, fault: str) -> None:
    """P2, P7: bad bytes are never called archived and leave nothing behind; a fresh link gives the file."""
    home.fault("cdn", fault, times=2)
    job_id = home.submit()

    assert [State.ARCHIVED] == home.until_end(job_id, hurry=2)
    proven(home, job_id)


def test_a_request_that_kling_refuses_ends_as_failed(home: House, app: Receiver) -> None:
    """What slips past our rules and Kling refuses is told with Kling's code, not tried again."""
    job_id = home.submit(prompt="a cat [fate: no-such-fate]", callback_url=app.url)

    assert [State.FAILED] == home.until_end(job_id)
    assert home.get(f"/api/jobs/{job_id}").json()["error"]["code"] == "1201"
    assert app.bodies[0]["task_status"] == "failed"


def test_the_broker_may_lose_everything(home: House) -> None:
    """P1: not one message arrives; sweeps alone take the job to its end."""
    home.queue.down = True
    job_id = home.submit()
    assert home.state(job_id) is State.ACCEPTED
    home.queue.down = False

    assert [State.ARCHIVED] == home.until_end(job_id)


def test_every_message_may_come_twice(home: House, app: Receiver) -> None:
    """P2, P3, P4: each message's work is done twice, and nothing happens twice."""
    once = home.queue.send
    home.queue.send = lambda *message: once(*message) and once(*message)  # type: ignore[method-assign]  # the fault
    job_id = home.submit(callback_url=app.url)

    assert [State.ARCHIVED] == home.until_end(job_id)
    assert home.creates()[job_id] == 1
    assert 1 == len(app.bodies)
    assert 4 == len([key for key in home.objects() if job_id in key])


def test_a_receiver_that_fails_is_told_again_with_the_same_id(home: House, app: Receiver) -> None:
    """P3: 500, then 503, then taken: the same webhook-id each time."""
    app.answers = [500, 503]
    job_id = home.submit(callback_url=app.url)

    assert [State.ARCHIVED] == home.until_end(job_id, hurry=100)
    assert 3 == len(app.bodies)
    assert 1 == len({headers["webhook-id"] for headers in app.headers})


def test_a_receiver_that_is_gone_is_left_alone(home: House, app: Receiver) -> None:
    """410 ends the attempts; the job itself is archived all the same."""
    app.answers = [410] * 9
    job_id = home.submit(callback_url=app.url)

    assert [State.ARCHIVED] == home.until_end(job_id)
    assert 1 == len(app.bodies)


def test_a_job_can_be_cancelled_until_kling_was_asked(home: House, app: Receiver) -> None:
    """Cancelled in time it is told as failed and never submitted; afterwards it is 409."""
    first, second = home.submit(callback_url=app.url), home.submit()
    cancelled = requests.post(f"{home.url}/api/jobs/{first}/cancel", headers=home.headers, timeout=10)
    home.drain()
    late = requests.post(f"{home.url}/api/jobs/{second}/cancel", headers=home.headers, timeout=10)

    assert [State.CANCELLED, State.ARCHIVED] == home.until_end(first, second)
    assert [200, 409] == [cancelled.status_code, late.status_code]
    assert first not in home.creates()
    assert [(first, "failed")] == [(told["task_id"], told["task_status"]) for told in app.bodies]


def test_a_link_opens_for_as_long_as_was_asked(home: House) -> None:
    """Links to files, pictures and manifest are made on request, for seven days at most; more is refused."""
    job_id = home.submit()
    home.until_end(job_id)
    week = 7 * 24 * 3600
    shown = home.get(f"/api/jobs/{job_id}?link_seconds={week}").json()
    links = [shown["manifest_url"], *(shown["files"][0][name] for name in ("url", "poster_url", "sheet_url"))]

    assert [f"X-Amz-Expires={week}" in link for link in links] == [True] * 4
    assert [requests.get(link, timeout=30).status_code for link in links] == [200] * 4
    assert "private, max-age=31536000, immutable" == requests.get(links[1], timeout=30).headers["Cache-Control"]
    for wrong in (week + 1, 0, -1, "1.5", "", "\u0661", 10**30):
        refused = home.get(f"/api/jobs/{job_id}?link_seconds={wrong}")
        assert (400, "link_seconds") == (refused.status_code, refused.json()["errors"][0]["field"])


def test_a_link_ends(home: House) -> None:
    """A link that was asked for one second does not open three seconds later."""
    job_id = home.submit()
    home.until_end(job_id)
    link = home.get(f"/api/jobs/{job_id}?link_seconds=1").json()["files"][0]["url"]

    assert wait_until(lambda: requests.get(link, timeout=30).status_code == 403, 60)
