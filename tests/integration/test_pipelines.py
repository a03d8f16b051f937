"""Requests that stand on earlier jobs, from the door to the archive: what waits, what begins, what falls with what."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
from sqlalchemy import Engine

from infra.emulator import Emulator
from infra.object_store import ObjectStore
from infra.stack.servers import Servers
from tests.house import TEXT, House, house
from tests.receiver import Receiver
from worker import messages
from worker.inputs import Inputs
from worker.jobs.model import State
from worker.jobs.references import DEEPEST

IMAGE, I2V, EXTEND = "/v1/images/generations", "/v1/videos/image2video", "/v1/videos/video-extend"


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator) -> Iterator[House]:
    """A house with a second account at the same Kling."""
    config = emulator.config
    other = emulator.url.replace("://", f"://{config.access_key}:{config.secret_key}@")
    with house(servers.addresses, engine, emulator, KLING_PACE="0.001", KLING_URL_OTHER=other) as opened:
        yield opened


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


def cancel(home: House, job: str) -> int:
    """Ask for the end of a job; the status of the answer."""
    return requests.post(f"{home.url}/api/jobs/{job}/cancel", headers=home.headers, timeout=10).status_code


def on(home: House, account: str, path: str, **body: Any) -> requests.Response:
    """Ask one of several accounts."""
    headers = {**home.headers, "Reelhook-Account": account}
    return requests.post(home.url + path, json=body, headers=headers, timeout=10)


def as_is(home: House, body: dict[str, Any]) -> str:
    """The id of a job whose request is sent as it is."""
    headers = {**home.headers, "Reelhook-Check": "off"}
    answer = requests.post(home.url + "/v1/videos/omni-video", json=body, headers=headers, timeout=10)
    return str(answer.json()["data"]["task_id"])


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
    written(home, first, second)


def written(home: House, first: str, second: str) -> None:
    """The timeline names the file that was taken, the manifest the jobs, and the payload stays as it was sent."""
    (begun,) = [one for one in home.services.store.timeline(second) if one["data"].get("event") == "inputs_ready"]
    made = shown(home, first)["files"][0]["key"]
    manifest = json.loads(home.services.bucket.read(shown(home, second)["manifest_key"], 0, 2**20))
    assert {"image": f"{first}: {made}"} == begun["data"]["inputs"]
    assert {"a/cat": first} == manifest["job"]["after"]
    assert "reelhook://a%2Fcat/files/0" == manifest["request"]["image"]


def test_what_stands_on_a_failure_fails_with_it(home: House, app: Receiver) -> None:
    """P1, P3: the middle one fails at Kling, later ones are never asked for, each is told once, with the reason."""
    first = ask(home, IMAGE, prompt="a cat", callback_url=app.url)
    second = ask(home, I2V, image=f"reelhook://{first}/files/0", prompt="[fate: fail]", callback_url=app.url)
    third = ask(home, EXTEND, video_id=f"reelhook://{second}/video_id", callback_url=app.url)
    fourth = ask(home, I2V, image=f"reelhook://{third}/poster", prompt="x", after=[first, second], callback_url=app.url)

    assert [State.ARCHIVED, *[State.FAILED] * 3] == home.until_end(first, second, third, fourth)
    assert not {third, fourth} & set(home.creates())
    reasons = {told["task_id"]: told["task_status_msg"] for told in app.bodies}
    assert 4 == len(app.bodies) == len(reasons)
    assert f"job {second}, which it stands on, ended as failed" in reasons[third]
    assert "risk control" in reasons[third]
    chain = shown(home, fourth)["chain"]
    assert ("failed", 1, 4) == (chain["state"], chain["archived"], chain["of"])


def test_a_foreign_job_is_no_job(home: House) -> None:
    """Another caller's job and one that never was are the same error; nothing is stored."""
    foreign = ask(home, IMAGE, prompt="a cat")
    home.services.keys.ensure("other", "rk_other", home.clock())
    theirs = {"Authorization": "Bearer rk_other"}
    said = []
    for name in (foreign, "0" * 26):
        body = {"image": f"reelhook://{name}/files/0", "prompt": "x"}
        answer = requests.post(home.url + I2V, json=body, headers=theirs, timeout=10)
        said.append((answer.status_code, answer.json()["code"], answer.json()["message"].replace(name, "NAME")))

    assert said[0] == said[1] == (400, 1201, "image: names no job of yours: 'NAME'")
    assert [] == requests.get(home.url + I2V, headers=theirs, timeout=10).json()["data"]


REFUSED: tuple[tuple[str, dict[str, Any], str], ...] = (
    (
        I2V,
        {"image": "reelhook://film/files/0"},
        "image: job 'film' would give video here, and the field takes image",
    ),
    (I2V, {"image": "reelhook://picture/files/7"}, "image: job 'picture' names output 7, and the job makes 2"),
    (I2V, {"image": "reelhook://picture/poster"}, "image: job 'picture' has no poster"),
    (I2V, {"image": "reelhook://picture/first"}, "must be reelhook://JOB/ and then files/N"),
    (I2V, {"image": "reelhook://me/files/0", "external_task_id": "me"}, "image: names no job of yours: 'me'"),
    (I2V, {"image": "AAAA", "after": ["none"]}, "after: names no job of yours: 'none'"),
    (I2V, {"image": "reelhook://none/files/0", "after": "none"}, "image and after: names no job of yours: 'none'"),
    (I2V, {"image": "reelhook://picture/files/0", "duration": "7"}, "duration"),
    (I2V, {"image": "AAAA", "after": 7}, "after: must be a job's id, or a list of such"),
    (I2V, {"image": "AAAA", "model_name": "reelhook://film/files/0"}, "model_name: takes nothing that a job made"),
    (I2V, {"image": "AAAA", "after": [str(n) for n in range(21)]}, "at most 20 jobs may be named, found 21"),
    (EXTEND, {"video_id": "reelhook://newer/video_id"}, "is made with kling-v2-6; extended are results of"),
    (EXTEND, {"video_id": "reelhook://omni/video_id"}, "is of videos/omni-video; extended are"),
    (EXTEND, {"video_id": "reelhook://picture/video_id"}, "job 'picture' has no video_id"),
    (EXTEND, {"video_id": "reelhook://gone/video_id"}, "video_id: job 'gone' ended as cancelled, nothing can stand"),
)


def test_what_will_not_do_is_refused(home: House) -> None:
    """Before anything is paid: with the field, the job and what is wrong; nothing is stored."""
    ask(home, IMAGE, prompt="a cat", n=2, external_task_id="picture")
    ask(home, "/v1/videos/text2video", prompt="a cat", external_task_id="film")
    ask(home, "/v1/videos/text2video", prompt="a cat", model_name="kling-v2-6", external_task_id="newer")
    ask(home, "/v1/videos/omni-video", **TEXT, external_task_id="omni")
    ask(home, "/v1/videos/text2video", prompt="a cat", external_task_id="gone")
    cancel(home, "gone")

    for path, body, says in REFUSED:
        answer = home.post({"prompt": "x", **body}, path)
        assert (400, 1201) == (answer.status_code, answer.json()["code"])
        assert says in answer.json()["message"]
    assert [] == home.get(I2V).json()["data"] == home.get(EXTEND).json()["data"]


def test_a_line_has_an_end(home: House) -> None:
    """So many jobs may stand one on another, and no more."""
    last = ask(home, IMAGE, prompt="a cat")
    for _ in range(DEEPEST):
        last = ask(home, IMAGE, prompt="a cat", after=last)
    answer = home.post({"prompt": "a cat", "after": last}, IMAGE)

    assert f"at most {DEEPEST} jobs may stand one on another" in answer.json()["message"]


def test_cancelling_takes_what_stands_on_it(home: House) -> None:
    """A waiting job can be cancelled, and so can what it waits for: then it fails, and Kling is asked for neither."""
    first, second, third = three(home)
    assert 200 == cancel(home, second)

    assert [State.ARCHIVED, State.CANCELLED, State.FAILED] == home.until_end(first, second, third)
    assert "cancelled" == shown(home, third)["chain"]["state"]
    assert not {second, third} & set(home.creates())


def test_nothing_hangs_when_messages_and_workers_die(home: House) -> None:
    """P1: every message about a job that waits is lost, as when a worker is killed between commit and send."""
    first = ask(home, IMAGE, prompt="a cat")
    second = ask(home, IMAGE, prompt="a dog", after=first)
    third = ask(home, IMAGE, prompt="a cow", after=[first, second])
    once = home.queue.send
    lost = []

    def send(task: str, queue_name: str, args: Any, task_id: str | None = None) -> bool:
        if task == messages.SUBMIT and args[0] in {second, third} and args[0] not in lost:
            lost.append(args[0])
            return True
        return once(task, queue_name, args, task_id)

    home.queue.sent.clear()
    home.queue.send = send  # type: ignore[method-assign]  # the fault

    assert [State.ARCHIVED] * 3 == home.until_end(first, second, third, hurry=1)
    assert {second, third} == set(lost)
    assert [1, 1, 1] == [home.creates()[job] for job in (first, second, third)]


def test_a_repeated_request_is_the_job_that_it_was(home: House) -> None:
    """P4: asked again after what it stands on has gone wrong, with the same external id: the same job, not an error."""
    first = ask(home, IMAGE, prompt="a cat")
    body = {"image": f"reelhook://{first}/files/0", "prompt": "x", "external_task_id": "mine"}
    second = ask(home, I2V, **body)
    cancel(home, first)
    home.until_end(first, second)

    assert second == ask(home, I2V, **body)
    assert "was used before" in home.post({**body, "after": first}, I2V).json()["message"]


def test_a_file_that_is_gone_fails_the_job(home: House) -> None:
    """Retention took the earlier job's file: said at once where it is known, and before anything is paid where not."""
    first = ask(home, IMAGE, prompt="a cat")
    second = ask(home, I2V, image=f"reelhook://{first}/files/0", prompt="x", after=ask(home, IMAGE, prompt="a dog"))
    while home.state(first) is not State.ARCHIVED:
        home.sweep()
        # Of all messages only the first job's, and each of those: what a sweep has sent it leaves alone for a while.
        while home.queue.sent:
            message = home.queue.sent.pop(0)
            if message[2] == (first,):
                home.run(message)
        time.sleep(0.02)  # the emulator works in real time
    home.services.bucket.delete(shown(home, first)["files"][0]["key"])
    refused = home.post({"image": f"reelhook://{first}/files/0", "prompt": "x"}, I2V).json()

    assert "image: is no longer in the bucket" in refused["message"]
    assert [State.FAILED] == home.until_end(second, hurry=5)
    assert "is no longer in the bucket" in shown(home, second)["error"]["message"]
    assert second not in home.creates()


def test_a_file_is_judged_once_it_is_known(home: House) -> None:
    """A rule about the film itself waits for the film; it fails the job with its own message, unpaid."""
    long = ask(home, "/v1/videos/text2video", prompt="a cat", model_name="kling-v3", duration="15")
    videos = [{"video_url": f"reelhook://{long}/files/0", "refer_type": "feature"}]
    body = {"prompt": "x", "model_name": "kling-video-o1", "video_list": videos}
    strict, anyhow = ask(home, "/v1/videos/omni-video", **body), as_is(home, body)

    assert State.FAILED is home.until_end(long, strict)[1]
    assert "video_list[0].video_url: must be 3 to 10 s long, found 15 s" in shown(home, strict)["error"]["message"]
    assert [0, 1] == [home.creates().get(job, 0) for job in (strict, anyhow)]


def test_an_id_goes_to_the_account_that_made_it(home: House) -> None:
    """What only one account knows is asked of that one, whatever was asked for first; of another it is refused."""
    first = on(home, "other", "/v1/videos/text2video", prompt="a cat").json()["data"]["task_id"]
    second = ask(home, EXTEND, video_id=f"reelhook://{first}/video_id")
    either = on(home, "default,other", EXTEND, video_id=f"reelhook://{first}/video_id").json()["data"]["task_id"]
    third = ask(home, "/v1/videos/text2video", prompt="a cat")
    cancel(home, either)
    wrong = on(home, "other", EXTEND, video_id=f"reelhook://{third}/video_id").json()["message"]

    assert ["other", "other"] == [shown(home, job)["account"] for job in (second, either)]
    assert "account: only account default knows the ids that the request names" == wrong
    cancel(home, third)
    assert [State.ARCHIVED] == home.until_end(second)


def test_the_bucket_may_be_away_for_a_while(home: House) -> None:
    """P1: what can't be looked at just now is looked at later; nobody fails for it."""
    first = ask(home, IMAGE, prompt="a cat")
    second = ask(home, I2V, image=f"reelhook://{first}/files/0", prompt="x")
    s = home.services
    away = s.settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"})
    whole = s.pipelines
    s.__dict__["pipelines"] = replace(whole, inputs=Inputs(ObjectStore(away), None))
    home.until_end(first)
    home.drain()
    assert State.WAITING is home.state(second)
    s.__dict__["pipelines"] = whole

    assert [State.ARCHIVED] == home.until_end(second, hurry=5)


def test_a_message_may_stand_on_earlier_jobs_too(home: House) -> None:
    """The Celery door takes the same requests, and refuses the same."""
    first = ask(home, IMAGE, prompt="a cat", external_task_id="cat")
    for name in ("cat", "dog"):
        home.message(family="videos/image2video", request={"image": f"reelhook://{name}/files/0", "prompt": "x"})
    (second,) = [one["task_id"] for one in home.get(I2V).json()["data"]]

    assert [State.ARCHIVED] * 2 == home.until_end(first, second)
    assert ["image: names no job of yours: 'dog'"] == [one.reason for one in home.services.aside.newest(5)]
