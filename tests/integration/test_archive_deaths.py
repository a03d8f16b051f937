"""The archive while workers are killed, or stand still for longer than their lease: one right file, nothing left."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import chain, count
from typing import Any

import pytest
from sqlalchemy import Engine, select

from infra.settings import Settings
from infra.stack.servers import Servers
from tests.conftest import environment_for
from tests.fakes import MORNING, FakeClock
from tests.integration.archive_kit import (
    LABEL,
    PART,
    behind,
    copying_job,
    film,
    placed,
    proven,
    saved,
    video,
    yard,
)
from tests.origin import File, film_of, origin
from tests.s3_gate import Gate
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

pytestmark = pytest.mark.usefixtures("small_parts", "no_pauses")

FILM = film()


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


def test_who_has_lost_the_lease_sends_nothing_by_any_thread(settings: Settings, engine: Engine) -> None:
    """P2: what one thread of a copy hears, the one that sends a part hears with its next piece: a store may take that
    part into a film that another worker has archived.
    """
    with placed(settings, engine, File.of(FILM)) as (made, _):
        late = book.Book(made.job_id, "late", [], store=made.store, clock=made.clock)
        at = Transfer("video", "original", 0, made.bucket.bucket, "kling/film")
        for write in (partial(late.sign, 1, 2), partial(late.save, at), partial(late.drop, at)):
            with pytest.raises(LeaseLost):
                write()
            with pytest.raises(LeaseLost):
                late.progress(1, 2)


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
    variables = environment_for(servers.addresses)
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
    variables = environment_for(servers.addresses)
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
