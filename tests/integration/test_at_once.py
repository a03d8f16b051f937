"""Routes that are answered at once, and name what jobs have made: what is sent in its place, or said instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, update

from infra.emulator import Emulator
from infra.object_store import ObjectStore
from infra.stack.servers import Servers
from tests.house import House, house
from webhook.wiring import Door
from worker.inputs import Inputs
from worker.jobs.model import State
from worker.services import now
from worker.store.keys import Terms
from worker.store.tables import jobs

TEXT, FACE = "/v1/videos/text2video", "/v1/videos/identify-face"
RECOGNISE = "/v1/videos/image-recognize"


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator) -> Iterator[House]:
    """A house with a second account at the same Kling."""
    config = emulator.config
    other = emulator.url.replace("://", f"://{config.access_key}:{config.secret_key}@")
    with house(servers.addresses, engine, emulator, KLING_PACE="0.001", KLING_URL_OTHER=other) as opened:
        yield opened


def film(home: House, **body: Any) -> str:
    """The id of a new job of one video."""
    return str(home.post({"prompt": "a cat", **body}, TEXT).json()["data"]["task_id"])


def said(home: House, path: str, account: str | None = None, key: str | None = None, **body: Any) -> tuple[int, str]:
    """Code and message of what is answered."""
    headers = {"Authorization": f"Bearer {key or home.key}", **({"Reelhook-Account": account} if account else {})}
    answer = requests.post(home.url + path, json=body, headers=headers, timeout=30).json()
    return answer["code"], answer["message"]


def test_what_a_job_made_is_named_at_once(home: House) -> None:
    """Film, poster and Kling's id of an archived job stand where a link or an id would, by either name of the job."""
    job = film(home, external_task_id="order/7")
    assert [State.ARCHIVED] == home.until_end(job)

    ready = {
        FACE: [{"video_url": f"reelhook://{job}/files/0"}, {"video_id": "reelhook://order%2F7/video_id"}],
        RECOGNISE: [{"image": f"reelhook://{job}/poster"}],
    }
    assert [0] * 3 == [said(home, path, **body)[0] for path, bodies in ready.items() for body in bodies]


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("reelhook://nobody/files/0", "names no job of yours: 'nobody'"),
        ("reelhook://done/files/7", "has no files/7"),
        ("reelhook://done/audio_id", "has no audio_id"),
        ("reelhook://done/film", "must be reelhook://JOB/"),
        (
            "reelhook://new/files/0",
            "job 'new' is accepted, and nothing waits for it here: ask again once it",
        ),
        ("reelhook://bad/files/0", "job 'bad' ended as cancelled, nothing can stand on it"),
    ],
)
def test_what_is_not_ready_is_said(home: House, reference: str, says: str) -> None:
    """The field, the job and its state, in Kling's protocol; Kling is not asked, and nothing waits."""
    done, bad = film(home, external_task_id="done"), film(home, external_task_id="bad")
    requests.post(f"{home.url}/api/jobs/{bad}/cancel", headers=home.headers, timeout=30)
    home.until_end(done)
    film(home, external_task_id="new")
    code, message = said(home, FACE, video_url=reference)

    assert (1201, "video_url: ") == (code, message[:11])
    assert says in message


def test_nobody_names_another_key_s_jobs(home: House) -> None:
    """Another key's job is no job, and `after` is no word here."""
    job = film(home)
    home.until_end(job)
    key = home.services.keys.create("app", now(), Terms())

    assert (1201, f"video_url: names no job of yours: '{job}'") == said(
        home, FACE, key=key, video_url=f"reelhook://{job}/files/0"
    )
    assert "after: is answered at once here" in said(home, FACE, after=job, video_url="https://a.example/x.mp4")[1]


def test_an_id_goes_to_its_maker(home: House) -> None:
    """What only one account knows is asked of that one, unless another one is named: then that is said; and an id that
    Kling has forgotten is not sent.
    """
    headers = {**home.headers, "Reelhook-Account": "other"}
    answer = requests.post(home.url + TEXT, json={"prompt": "a cat"}, headers=headers, timeout=30)
    theirs, ours = str(answer.json()["data"]["task_id"]), film(home)
    home.until_end(theirs, ours)
    named = {"video_id": f"reelhook://{theirs}/video_id"}

    assert [0, 0] == [said(home, FACE, account, **named)[0] for account in (None, "other")]
    assert (1201, "account: only account other knows the ids that the request names") == said(
        home, FACE, "default", **named
    )
    both = said(home, FACE, **named, more=f"reelhook://{ours}/video_id")
    assert (1201, "account: no one account knows the ids that it names, they are of default, other") == both
    with home.services.engine.begin() as connection:
        connection.execute(update(jobs).values(submitted_at=now() - timedelta(days=31)))
    assert "is older than 30 days" in said(home, FACE, **named)[1]


def test_a_file_that_is_gone_or_out_of_reach_is_said(home: House) -> None:
    """Deleted since: 1201 with its key. A bucket that can't be reached: 5001, and nothing is sent."""
    job = film(home)
    home.until_end(job)
    (file,) = home.services.store.files([job])[job]
    home.services.bucket.delete(file.key)
    body = {"video_url": f"reelhook://{job}/files/0"}
    assert said(home, FACE, **body) == (
        1201, f"video_url: files/0 of job {job!r} is no longer in the bucket, where it was {file.key}",
    )  # fmt: skip
    door: Door = home.application.extensions["reelhook"]()
    away = home.settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"})
    door.__dict__["acceptor"] = replace(door.acceptor, inputs=Inputs(ObjectStore(away), None))

    assert 5001 == said(home, FACE, **body)[0]
