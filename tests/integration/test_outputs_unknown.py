"""What a result links to by a field that nobody knows is archived, too; it never costs a job its films."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any, NoReturn

import pytest
from PIL import Image
from sqlalchemy import Engine, event, select

from infra.http import NoAnswer
from infra.settings import Settings
from tests.fakes import FakeQueue
from tests.integration.archive_kit import ALL, Yard, film, video, yard
from tests.origin import File, Origin, origin
from webhook.verdicts import Judge, Outcome
from worker.jobs.model import State
from worker.kling.errors import ResourceMissing
from worker.kling.wire import Output, read_task
from worker.store import attention
from worker.store.repository import NewJob
from worker.store.tables import jobs
from worker.tasks.book import LEASE
from worker.tasks.complaints import Complaints

FILM = film()
COVER = BytesIO()
Image.new("RGB", (64, 48), (9, 90, 9)).save(COVER, "PNG")
PLACE = "videos[77].cover_url"


def other(url: str, place: str = PLACE) -> Output:
    """What a field links to that nobody knows."""
    return Output("other", place, 0, None, url, None)


@pytest.fixture
def place(settings: Settings, engine: Engine) -> Iterator[tuple[Yard, Origin]]:
    """A job of one film and the means to serve more."""
    with origin(film=File.of(FILM)) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        yield made, served


def missing(made: Yard) -> list[dict[str, object]]:
    """What the manifest says is missing."""
    key = next(key for key in made.bucket.keys("kling/") if key.endswith("manifest.json"))
    document = json.loads(b"".join(made.bucket.chunks(key)))
    assert ("archived", None) == (document["job"]["state"], document["job"]["failure"])
    assert document["job"]["archived_at"]
    listed: list[dict[str, object]] = document["missing"]
    return listed


def told(made: Yard) -> list[str]:
    """What people were told of the job."""
    events = made.store.timeline(made.job_id)
    return [event["data"]["message"] for event in events if event["data"].get("reason") == "field_unknown"]


def test_what_nobody_knows_is_stored_as_it_came(place: tuple[Yard, Origin]) -> None:
    """P2: its own key, the type that its first bytes say, length and hash; it holds when it is read back."""
    made, served = place
    served.files.update(cover=File.of(COVER.getvalue()), blob=File.of(b"\0\1\2" * 99))
    made.provider.outputs += [other(served.link("cover")), other(served.link("blob"), "mesh.glb_url")]
    assert State.ARCHIVED is made.until_end()

    assert ["video", "other", "other"] == [file.kind for file in made.files]
    stored = {file.variant: file for file in made.files if file.kind == "other"}
    assert {PLACE: "image/png", "mesh.glb_url": "application/octet-stream"} == {
        name: file.content_type for name, file in stored.items()
    }
    assert hashlib.sha256(COVER.getvalue()).hexdigest() == stored[PLACE].sha256
    assert stored[PLACE].key.rpartition("/")[2].startswith("other-cover_url-")
    judge = Judge(made.bucket)
    assert {Outcome.HOLDS} == {judge.of_file(made.job_id, file, made.clock()).outcome for file in made.files}
    assert ([], []) == (missing(made), told(made))


def test_what_nobody_knows_and_nobody_has_costs_no_film(place: tuple[Yard, Origin]) -> None:
    """The job is archived at once; manifest and timeline say what is missing and why, without its address."""
    made, served = place
    made.provider.outputs.append(other(served.link("gone?sig=s3cr3t")))
    assert State.ARCHIVED is made.work()

    ((lost, said),) = zip(missing(made), told(made), strict=True)
    assert ("other", PLACE, "not_archived") == (lost["kind"], lost["variant"], lost["state"])
    assert "404" in str(lost["reason"])
    assert "videos[].cover_url" in said
    assert "s3cr3t" not in said + json.dumps(lost)


@pytest.mark.parametrize("changes", [{"status": 503}, {"claims": 5}], ids=["busy", "cut"])
def test_what_nobody_knows_is_asked_for_once_more(place: tuple[Yard, Origin], changes: dict[str, int]) -> None:
    """Where a server that has it was busy, or its answer broke off: but only once, as the films wait for it."""
    made, served = place
    served.files["cover"] = File.of(COVER.getvalue(), **changes)
    made.provider.outputs.append(other(served.link("cover")))
    assert State.COPYING is made.work()

    served.files["cover"] = File.of(COVER.getvalue())
    made.clock.advance(10)
    assert State.ARCHIVED is made.work()
    assert (["video", "other"], [], []) == ([file.kind for file in made.files], missing(made), told(made))


@pytest.mark.parametrize("changes", [{"status": 503}, {"claims": 5}], ids=["busy", "cut"])
def test_what_nobody_knows_is_waited_for_no_longer(place: tuple[Yard, Origin], changes: dict[str, int]) -> None:
    """P7: its server is busy, or breaks off, for good: the second task archives the films, and leaves none of it."""
    made, served = place
    served.files["cover"] = File.of(COVER.getvalue(), **changes)
    made.provider.outputs.append(other(served.link("cover")))
    made.work()
    made.clock.advance(10)

    assert State.ARCHIVED is made.work()
    assert ["videos[77].cover_url"] == [one["variant"] for one in missing(made)]
    assert (ALL, 0, 0) == made.left()


@pytest.mark.parametrize("fault", [ResourceMissing("no such task", code=1203), NoAnswer("no answer")])
def test_what_nobody_knows_makes_no_film_wait_for_the_provider(
    place: tuple[Yard, Origin], monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """P1, P2: a fresh link to it can't be had, as the provider is away or has forgotten the task. The films are there:
    the job is archived, and does not wait, or end without what it has.
    """
    made, served = place
    served.files["cover"] = File.of(COVER.getvalue(), status=503)
    made.provider.outputs.append(other(served.link("cover")))
    item = {"id": "77", "url": served.link("film.mp4"), "cover_url": served.link("cover")}
    task = {"task_id": "1", "task_status": "succeed", "task_result": {"videos": [item]}}
    made.provider.answer = json.dumps({"code": 0, "data": task}).encode()
    assert State.COPYING is made.work()

    def query(*_: object) -> NoReturn:
        raise fault

    monkeypatch.setattr(made.provider, "query", query)
    made.clock.advance(10)
    assert State.ARCHIVED is made.work()
    assert [PLACE] == [one["variant"] for one in missing(made)]


def test_what_nobody_knows_makes_no_film_wait_for_long(place: tuple[Yard, Origin]) -> None:
    """Its server asks for an hour: the first task archives the films."""
    made, served = place
    served.files["cover"] = File.of(COVER.getvalue(), status=503, headers={"Retry-After": "3600"})
    made.provider.outputs.append(other(served.link("cover")))

    assert State.ARCHIVED is made.work()


def test_a_page_is_no_file_that_nobody_knows(place: tuple[Yard, Origin]) -> None:
    """A link to look at is not kept as if it were a result."""
    made, served = place
    served.files.update(page=File.of(b"<html>", headers={"Content-Type": "text/html"}))
    made.provider.outputs.append(other(served.link("page")))
    assert State.ARCHIVED is made.work()

    assert ["video"] == [file.kind for file in made.files]
    assert 1 == len(missing(made))


def test_a_result_of_what_nobody_knows_alone_is_waited_for(place: tuple[Yard, Origin]) -> None:
    """Where there is nothing else it is what was paid for: without it no job is archived."""
    made, served = place
    made.provider.outputs = [other(served.link("gone"))]
    assert State.COPYING is made.work()

    served.files["gone"] = File.of(COVER.getvalue())
    assert State.ARCHIVED is made.until_end()
    assert [PLACE] == [file.variant for file in made.files]


def test_a_film_that_is_named_later_is_waited_for(place: tuple[Yard, Origin]) -> None:
    """P2: a picture of it that is named before is not all that was paid for, and no job is archived with that alone."""
    made, served = place
    served.files["cover"] = File.of(COVER.getvalue())
    films, made.provider.outputs = made.provider.outputs, [other(served.link("cover"))]
    assert State.COPYING is made.work()

    made.provider.outputs += films
    assert State.ARCHIVED is made.until_end()
    assert {"video", "other"} == {file.kind for file in made.files}


def test_people_hear_of_a_field_once_a_month(place: tuple[Yard, Origin]) -> None:
    """A provider that says something new says it of every task."""
    made, _ = place
    complaints = Complaints(made.runs, made.attention, FakeQueue(), made.clock)
    job = made.store.get(made.job_id)
    assert job is not None
    for day in range(40):
        complaints.lost(job, {("other", f"videos[{day}].cover_url", 0): "gone"})
        made.clock.advance(86_400)

    assert 2 == len(told(made))


def test_each_caller_hears_of_a_field(place: tuple[Yard, Origin], engine: Engine) -> None:
    """What one caller was told of says nothing to another one."""
    made, _ = place
    complaints = Complaints(made.runs, made.attention, FakeQueue(), made.clock)
    for name in ("shop", "press"):
        new = NewJob(name, name, "default", "videos/omni-video", None, None, b"f", b"{}")
        job = made.store.accept(new, made.clock()).job
        complaints.lost(job, {("other", PLACE, 0): "gone"})

    for name in ("shop", "press"):
        assert [PLACE.replace("77", "")] == [
            event["data"]["message"].split(": ")[1].split(" ")[0]
            for event in made.store.timeline(name)
            if event["data"].get("reason") == "field_unknown"
        ]


def test_a_field_is_not_taken_for_told_before_it_is(
    place: tuple[Yard, Origin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: the database goes away, or the worker dies, as it is written down: the next job tells of it."""
    made, _ = place
    complaints = Complaints(made.runs, made.attention, FakeQueue(), made.clock)
    job = made.store.get(made.job_id)
    assert job is not None

    def dies(*_: object) -> NoReturn:
        raise ConnectionAbortedError

    with monkeypatch.context() as patch:
        patch.setattr(attention, "tell", dies)
        with pytest.raises(ConnectionAbortedError):
            complaints.lost(job, {("other", PLACE, 0): "gone"})
    complaints.lost(job, {("other", PLACE, 0): "gone"})

    assert 1 == len(told(made))


def test_how_many_links_were_left_out_is_told(place: tuple[Yard, Origin], monkeypatch: pytest.MonkeyPatch) -> None:
    """More than twenty are no files of one task; that there were more a person hears, though all others are stored."""
    made, served = place
    item = {"id": "77", "url": served.link("film.mp4"), "pages": [f"https://k/{number}" for number in range(23)]}
    task = read_task(
        200,
        {},
        json.dumps({"data": {"task_id": "1", "task_status": "succeed", "task_result": {"videos": [item]}}}).encode(),
    )
    monkeypatch.setattr(made.provider, "query", lambda *_: (replace(task, outputs=tuple(made.provider.outputs)), b""))
    assert State.ARCHIVED is made.work()

    (message,) = told(made)
    assert "beyond the first 20 links (3 more were left out)" in message


@pytest.mark.usefixtures("no_pauses")  # nobody renews the lease of who stands still
@pytest.mark.parametrize("then", [403, 200])
def test_who_writes_the_manifest_too_late_writes_the_same(place: tuple[Yard, Origin], then: int) -> None:
    """P2: a worker stands still with the manifest on its way, and another one ends the job. What the first one did
    without the second does without as well, and for the same reason, though it might fare better by now.
    """
    made, served = place
    served.files["cover"] = File.of(COVER.getvalue(), status=404)
    made.provider.outputs.append(other(served.link("cover")))
    item = {"id": "77", "url": served.link("film.mp4"), "cover_url": served.link("cover")}
    task = {"task_id": "1", "task_status": "succeed", "task_result": {"videos": [item]}}
    made.store.set_answer(made.job_id, json.dumps({"code": 0, "data": task}).encode())

    class HeldUp:
        """The bucket, to which the manifest of one worker comes too late."""

        def __getattr__(self, name: str) -> Any:
            return getattr(made.bucket, name)

        def put(self, key: str, *rest: Any, **said: Any) -> str:
            """Store it, once another worker has ended the job."""
            if key.endswith("manifest.json"):
                served.files["cover"] = File.of(COVER.getvalue(), status=then)
                made.clock.advance(1000)
                assert State.ARCHIVED is made.work()
            return made.bucket.put(key, *rest, **said)

    made.restarted(bucket=HeldUp()).work()

    job = made.store.get(made.job_id)
    assert job is not None
    assert Judge(made.bucket).of_manifest(job).why is None
    assert [True] == ["404" in str(one["reason"]) for one in missing(made)]
    assert ["job.left_out"] == [one["type"] for one in made.store.timeline(made.job_id) if "left" in one["type"]]


def test_what_a_job_does_without_is_settled_in_one_go(place: tuple[Yard, Origin], engine: Engine) -> None:
    """From the look at the lease until it is written nobody else gets the job, nor a number in its timeline."""
    made, _ = place
    job = made.store.lease(made.job_id, "w", made.clock(), LEASE)
    assert job is not None
    free: list[bool] = []

    def look(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM events" in statement:
            with engine.connect() as other:
                free.append(other.execute(select(jobs.c.id).with_for_update(skip_locked=True)).first() is not None)

    event.listen(engine, "before_cursor_execute", look)
    settled = made.store.manifests.leave_out(made.job_id, "w", {("other", PLACE, 0): "gone"}, made.clock())
    event.remove(engine, "before_cursor_execute", look)

    assert ({("other", PLACE, 0): "gone"}, {False}) == (settled, set(free))
