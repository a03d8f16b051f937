"""The archive while source, bucket, the ways to them and the worker fail: one right file, and nothing left behind."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from itertools import chain, count
from types import SimpleNamespace
from typing import Any, Literal
from urllib.parse import urlsplit

import botocore.endpoint
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from infra import dial, s3_wire
from infra.object_store import ObjectStore
from infra.settings import Settings
from infra.stack.servers import Servers
from tests.conftest import environment_for
from tests.fakes import MORNING, FakeClock
from tests.integration.archive_kit import PART, Yard, copying_job, film, in_small_parts, proven, video, yard
from tests.origin import File, Origin, film_of, origin
from tests.proxy import FaultProxy
from tests.s3_gate import Gate
from worker import source, spool
from worker.jobs import retry
from worker.jobs.machine import Event
from worker.jobs.model import State
from worker.jobs.transfer import Transfer
from worker.source import LeaseLost
from worker.store.aside import Aside
from worker.store.outbox import Outbox
from worker.store.repository import NewJob, Repository
from worker.store.tables import deliveries
from worker.tape import Held
from worker.tasks import book
from worker.tasks.book import LEASE

FILM = film()
#: Of what no test looks at the label of.
LABEL: dict[str, Any] = {"content_type": "a/b", "filename": "x", "metadata": {}}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts as small as S3 allows, so that a small film has several."""
    in_small_parts(monkeypatch)
    # How long the client waits before it asks again is not under test.
    for client in (botocore.endpoint, s3_wire):
        monkeypatch.setattr(client, "time", SimpleNamespace(sleep=lambda _: None))
    # Who stands still here stands still with all its threads.
    monkeypatch.setattr(book, "_WAITING_SECONDS", 3600)


@contextmanager
def placed(settings: Settings, engine: Engine, file: File, **changes: Any) -> Iterator[tuple[Yard, Origin]]:
    """A yard with a job of one film, served as the test says."""
    with origin(film=file) as served, yard(settings, engine, [video(served.link("film.mp4"))], **changes) as made:
        yield made, served


def behind(made: Yard, settings: Settings, url: str) -> Yard:
    """The same with another way to the bucket for the worker; the judge goes to it directly."""
    return made.restarted(bucket=ObjectStore(settings.model_copy(update={"s3_endpoint_url": url})))


cuts = st.lists(st.tuples(st.sampled_from(["reset", "fin"]), st.floats(0, 1)), min_size=1, max_size=4)


@hypothesis_settings(max_examples=10)
@given(st.sampled_from(["source", "bucket"]), st.sampled_from([0, PART, 12 * 2**20]), cuts)
def test_connections_break_at_any_byte(
    settings: Settings, engine: Engine, side: str, size: int, cuts: list[tuple[Literal["reset", "fin"], float]]
) -> None:
    """P2, P7: resets and early ends on either side, anywhere: one right object, and nothing left behind."""
    file = film_of(FILM, size) if size else File.of(FILM)
    with placed(settings, engine, file, job_id=f"01job{next(NUMBERS)}") as (made, served), ExitStack() as stack:
        target = served.port if side == "source" else urlsplit(settings.s3_endpoint_url or "").port
        proxy = stack.enter_context(FaultProxy("127.0.0.1", target or 0))
        if side == "source":
            made.provider.outputs = [video(served.link("film.mp4", proxy.port))]
        worker = made if side == "source" else behind(made, settings, proxy.url)
        for how, place in cuts:
            cut = proxy.reset_after if how == "reset" else proxy.fin_after
            cut(int(place * (file.size + 20_000)))
            worker.work()
            made.clock.advance(100_000)
        proxy.heal()
        worker.until_end()

        proven(made, file)


NUMBERS = count()


@pytest.mark.parametrize("operation", ["head", "put", "begin", "part", "complete", "list uploads"])
def test_the_bucket_fails_and_may_have_done_it(settings: Settings, engine: Engine, operation: str) -> None:
    """P2, P7: 500 to any call, done or not: nobody can tell, and still there is one right object and no upload."""
    file = film_of(FILM, 12 * 2**20)
    with placed(settings, engine, file) as (made, _), Gate(settings.s3_endpoint_url or "") as gate:
        if operation == "list uploads":  # asked for only by who takes up what another one began
            made.restarted(slice_seconds=0.0).work()
        gate.refuse(operation, 500, "InternalError", times=5, done_first=True)
        gate.refuse(operation, 500, "InternalError", times=5)
        behind(made, settings, gate.url).until_end()

        assert gate.refusals[0].times < 5
        proven(made, file)


def test_a_bucket_that_is_busy_is_waited_for(settings: Settings, engine: Engine) -> None:
    """P1, P2: 503 SlowDown to every kind of call, more often than the client asks again, costs no attempt."""
    file = film_of(FILM, 12 * 2**20)
    with placed(settings, engine, file) as (made, _), Gate(settings.s3_endpoint_url or "") as gate:
        for operation in ("put", "part", "begin", "complete", "head", "list uploads"):
            gate.refuse(operation, 503, "SlowDown", times=6)
        behind(made, settings, gate.url).until_end()

        assert ([0] * 6, 0) == ([refusal.times for refusal in gate.refusals], made.attempts)
        proven(made, file)


def test_a_completion_that_is_refused_in_a_200_is_no_completion(settings: Settings, engine: Engine) -> None:
    """S3 may say 200 and then, in the body, that it failed: that is heard."""
    file = film_of(FILM, 12 * 2**20)
    with placed(settings, engine, file) as (made, _), Gate(settings.s3_endpoint_url or "") as gate:
        gate.refuse("complete", 200, "InternalError", times=2)
        behind(made, settings, gate.url).until_end()

        assert 0 == gate.refusals[0].times
        proven(made, file)


@pytest.mark.parametrize("completed", [False, True])
def test_an_upload_that_vanished_is_begun_anew(settings: Settings, engine: Engine, *, completed: bool) -> None:
    """A lifecycle rule, or a person, ended the upload between two slices, or it became an object of which half is
    missing: everything is sent again, once.
    """
    file = film_of(FILM, 12 * 2**20)
    with placed(settings, engine, file, slice_seconds=0.0) as (made, _):
        made.work()
        (at,) = made.store.transfers.of(made.job_id)
        assert at.upload_id is not None
        if completed:
            made.bucket.complete(at.key, at.upload_id, at.etags)
        else:
            made.bucket.abort(at.key, at.upload_id)
        made.until_end()

        proven(made, file)


def test_a_slow_source_is_given_up_and_asked_for_anew(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the least speed a fetch ends, although bytes come; with a fresh link the file is there."""
    monkeypatch.setattr(dial, "_SILENCE_SECONDS", 0.3)
    file = film_of(FILM, 12 * 2**20)
    with (
        placed(settings, engine, file, slowest=2**20) as (made, served),
        FaultProxy("127.0.0.1", served.port) as proxy,
    ):
        made.provider.outputs = [video(served.link("film.mp4", proxy.port))]
        proxy.slow(100_000)
        assert (State.COPYING, 1) == (made.work(), made.attempts)
        made.provider.outputs = [video(served.link("film.mp4"))]
        monkeypatch.setattr(dial, "_SILENCE_SECONDS", 30)
        made.clock.advance(100_000)
        made.until_end()

        proven(made, file)


# --- death --------------------------------------------------------------------------------------------------------
class HeldUp:
    """The bucket to a worker whose call `name` stands still while `meanwhile` happens, and then is made."""

    def __init__(self, bucket: Any, name: str, meanwhile: Callable[[], object]) -> None:
        self._bucket = bucket
        self._name = name
        self._meanwhile = [meanwhile]

    def __getattr__(self, name: str) -> Any:
        if name == self._name and self._meanwhile:
            self._meanwhile.pop()()
        return getattr(self._bucket, name)


@pytest.mark.parametrize(
    ("call", "size"),
    [
        *((call, 0) for call in ("put_stream", "delete", "end_uploads", "head")),
        *((call, 12 * 2**20) for call in ("put_part", "complete", "relabel", "open")),
    ],
)
def test_who_was_held_up_changes_nothing_that_another_one_has_stored(
    settings: Settings, engine: Engine, call: str, size: int
) -> None:
    """P2: a worker stands still for a minute, before it stores a film that does not hold or clears it away, and
    another one is given the good film meanwhile: that is what is archived, and what lies there in the end.
    """
    films = (FILM, FILM[:-3000] + bytes(3000))
    good, bad = (film_of(one, size) if size else File.of(one) for one in films)
    bad.etag = '"bad"'
    with origin(good=good, bad=bad) as served, yard(settings, engine, [video(served.link("bad"))]) as made:

        def meanwhile() -> None:
            made.clock.advance(60)
            made.provider.outputs = [video(served.link("good"))]
            made.work()

        made.restarted(bucket=HeldUp(made.bucket, call, meanwhile)).work()
        while made.state is State.COPYING:
            made.clock.advance(100_000)
            made.work()

        proven(made, good)


def test_who_was_held_up_leaves_no_upload(settings: Settings, engine: Engine) -> None:
    """P7: a worker stands still as it begins an upload, and another one archives the film meanwhile: it is ended at
    once, as nobody would look for it there for a day.
    """
    file = film_of(FILM, 12 * 2**20)
    with placed(settings, engine, file) as (made, _):

        def meanwhile() -> None:
            made.clock.advance(60)
            made.work()

        made.restarted(bucket=HeldUp(made.bucket, "begin", meanwhile)).work()

        proven(made, file)


def test_nobody_has_a_job_while_something_of_it_may_still_be_thrown_away(settings: Settings, engine: Engine) -> None:
    """P2: the store fails to say whether it deleted a film that did not hold: it may do so for ninety more seconds, and
    until then nobody, called or not, stores another one there.
    """
    bad = File.of(FILM[:-3000] + bytes(3000))
    with placed(settings, engine, bad) as (made, _), Gate(settings.s3_endpoint_url or "") as gate:
        gate.refuse("delete", 500, "InternalError", times=1)
        behind(made, settings, gate.url).work()
        made.clock.advance(89)
        assert (1, None) == (made.attempts, made.store.lease(made.job_id, "next", made.clock(), LEASE))
        made.clock.advance(1)
        assert made.store.lease(made.job_id, "next", made.clock(), LEASE) is not None


def test_a_slow_bucket_keeps_nobody_from_holding_a_job(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2: each piece of a small file that a bucket takes is a sign of life: a send that outlasts a lease keeps it."""
    monkeypatch.setattr(book, "_SIGN", timedelta(0))
    file = film_of(FILM, 4 * 2**20)
    with placed(settings, engine, file) as (made, _):

        class Slow:
            """Takes a piece in three quarters of a lease."""

            def __getattr__(self, name: str) -> Any:
                return getattr(made.bucket, name)

            def put_stream(self, key: str, body: Any, length: int, **label: Any) -> str:
                """Take all of them, and only then store it."""
                while body.read():
                    made.clock.advance(15)
                    assert made.store.lease(made.job_id, "next", made.clock(), LEASE) is None
                return made.bucket.put_stream(key, body, length, **label)

        made.restarted(bucket=Slow()).work()
        proven(made, file)


def test_of_an_upload_that_vanished_nothing_stays_beside_the_file(settings: Settings, engine: Engine) -> None:
    """P7: nobody would know any more of what came after its last part."""
    file = film_of(FILM, 12 * 2**20)
    with placed(settings, engine, file, slice_seconds=0.0) as (made, _):
        made.work()
        (at,) = made.store.transfers.of(made.job_id)
        held = made.store.lease(made.job_id, "late", made.clock(), LEASE)
        assert (held, at.upload_id) != (None, None)
        body = Held([file.read(at.size, at.size + 1000)])
        made.copier.sender.rests.put(at, body, LABEL, lambda rest: saved(made, rest))
        made.store.put_off(made.job_id, "late", made.clock())
        made.bucket.abort(at.key, str(at.upload_id))
        made.restarted(slice_seconds=60.0).until_end()  # in one slice, or the next would find it

        proven(made, file)


def test_a_disk_that_is_full_costs_no_file(settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """P1: room that nobody had promised ends in the middle of a film, again and again: it waits, and is archived."""
    monkeypatch.setattr(spool, "sys", SimpleNamespace(platform="darwin"))  # where no room can be promised
    file = film_of(FILM, 9 * 2**20)
    monkeypatch.setattr(source, "SPOOLED_BYTES", file.size)
    with placed(settings, engine, file) as (made, _):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
        try:
            for _ in range(len(retry.ARCHIVE_AGAIN) + 2):
                assert State.COPYING is made.work()
                made.clock.advance(10_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        made.until_end()

        proven(made, file)


def saved(made: Yard, transfer: Transfer) -> None:
    """Write how far a file is, as who holds the lease."""
    if not made.store.transfers.save(made.job_id, "late", transfer, made.clock(), LEASE):
        raise LeaseLost


def test_who_has_lost_the_lease_puts_nothing_beside_a_file(settings: Settings, engine: Engine) -> None:
    """P7: another one may have archived it by now, and would not clear it away again."""
    with placed(settings, engine, File.of(FILM)) as (made, _):
        at = Transfer("video", "original", 0, made.bucket.bucket, "kling/film")
        with pytest.raises(LeaseLost):
            made.copier.sender.rests.put(at, Held([b"late"]), LABEL, lambda rest: saved(made, rest))

        assert [] == made.bucket.keys("")


@pytest.mark.parametrize("size", [0, 2 * PART + 1000])
def test_a_worker_may_be_killed_at_every_step(
    servers: Servers, settings: Settings, engine: Engine, mortal: Callable[[dict[str, Any]], int], size: int
) -> None:
    """P2, P7: SIGKILL before each call to rows or bucket (each second one where parts make them many), and while bytes
    flow, costs time and nothing else.
    """
    file = film_of(FILM, size) if size else File.of(FILM)
    variables = environment_for(servers.addresses, kling_url="http://a:s@127.0.0.1:9", public_url="http://127.0.0.1:9")
    bytes_come = ({"byte": place} for place in (0, PART // 2, PART) if place < file.size)
    moments = chain(bytes_come, ({"call": number} for number in count(step=2 if size else 1)))
    with placed(settings, engine, file) as (made, served):
        for number, moment in enumerate(moments):
            made.job_id = f"01job{number}"
            copying_job(made)
            common = {"settings": variables, "job": made.job_id, "url": served.link("film.mp4"), "part_bytes": PART}
            ended = mortal({**common, "spooled": 0, **moment})
            if ended == 0:
                proven(made, file)
                break
            assert signal.SIGKILL == ended
            made.clock.advance(100_000)
            made.until_end()
            proven(made, file)
        assert number > 12


def test_a_delivery_that_always_kills_is_given_up(
    servers: Servers, settings: Settings, engine: Engine, mortal: Callable[[dict[str, Any]], int]
) -> None:
    """Eight real deaths, ever further apart, and no ninth: then it is given up, and shown with the reason."""
    store, outbox, clock, deaths = Repository(engine), Outbox(engine), FakeClock(), 0
    job = store.accept(NewJob("job", "a", "a", "videos/omni-video", None, "https://a.example/", b"f", b"{}"), MORNING)
    assert store.move(job.job, Event.SUBMIT_REFUSED, MORNING)
    variables = environment_for(servers.addresses, kling_url="http://a:s@127.0.0.1:9", public_url="http://127.0.0.1:9")
    with engine.connect() as connection:
        delivery = connection.execute(select(deliveries.c.id)).scalar_one()
    while state_of_delivery(engine) == "pending":
        if outbox.due(clock(), 9):
            deaths += (
                mortal({"settings": variables, "delivery": delivery, "now": clock().isoformat()}) == signal.SIGKILL
            )
        clock.advance(30)

    assert (retry.DEATHS, "given_up") == (deaths, state_of_delivery(engine))
    assert (clock() - MORNING).total_seconds() > 3600
    assert [f"delivery {delivery}"] == [one.task for one in Aside(engine).newest(9)]


def state_of_delivery(engine: Engine) -> str:
    """Of the one delivery."""
    with engine.connect() as connection:
        return str(connection.execute(select(deliveries.c.state)).scalar_one())


def test_a_key_that_may_not_list_hears_no_of_what_is_not_there(settings: Settings, engine: Engine) -> None:
    """P1: AWS says 403 of what is not there if a key may not list; a film that broke off comes all the same."""
    file = File.of(FILM)
    file.claims = 1000
    with placed(settings, engine, file) as (made, _), Gate(str(settings.s3_endpoint_url)) as gate:
        made.work()
        file.claims = 0
        gate.refuse("head", 403, "Forbidden", when=lambda _: not made.bucket.keys("kling/"))
        there = behind(made, settings, gate.url)
        there.clock.advance(10**5)
        there.work()

        proven(there, file)
