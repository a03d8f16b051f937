"""The archive while source, bucket, the ways to them and the worker fail: one right file, and nothing left behind."""

from __future__ import annotations

import resource
from contextlib import ExitStack
from itertools import count
from types import SimpleNamespace
from typing import Literal
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from infra import dial
from infra.settings import Settings
from tests.integration.archive_kit import (
    LABEL,
    PART,
    behind,
    film,
    placed,
    proven,
    saved,
    video,
)
from tests.origin import File, film_of
from tests.proxy import FaultProxy
from tests.s3_gate import Gate
from worker import source, spool
from worker.jobs import retry
from worker.jobs.model import State
from worker.tape import Held
from worker.tasks.book import LEASE

pytestmark = pytest.mark.usefixtures("small_parts", "no_pauses")

FILM = film()


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
