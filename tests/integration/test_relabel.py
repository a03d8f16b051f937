"""A file too large to be held or laid down names its SHA-256 all the same: the store copies it onto itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import requests
from sqlalchemy import Engine

from infra.object_store import ObjectStore
from infra.settings import Settings
from tests.integration.archive_kit import Yard, copying_job, film, proven, sha256_of, video, yard
from tests.origin import film_of, origin
from tests.s3_gate import Gate
from worker import parts, sender, source
from worker.jobs.model import State

FILE = film_of(film(), 10 * 2**20)


@pytest.fixture(autouse=True)
def nothing_laid_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger file would take longer."""
    monkeypatch.setattr(source, "SPOOLED_BYTES", 0)


@contextmanager
def through_a_gate(settings: Settings, engine: Engine, **changes: Any) -> Iterator[tuple[Yard, Yard, Gate]]:
    """The judge, a worker whose way to the bucket is a gate, and that gate."""
    with (
        origin(film=FILE) as served,
        yard(settings, engine, [video(served.link("film.mp4"))]) as made,
        Gate(settings.s3_endpoint_url or "") as gate,
    ):
        behind = settings.model_copy(update={"s3_endpoint_url": gate.url, **changes})
        yield made, made.restarted(bucket=ObjectStore(behind)), gate


def test_a_large_file_is_stored_as_a_small_one_is(settings: Settings, engine: Engine) -> None:
    """Type, name and cache rule are those of any file, and one copy was asked for."""
    with through_a_gate(settings, engine) as (made, worker, gate):
        worker.work()

        proven(made, FILE)
        assert 1 == gate.heard.count("copy")
        answer = requests.get(made.bucket.presign(made.files[0].key, seconds=60), timeout=10)
        assert ("video/mp4", settings.s3_cache_control, 'inline; filename="01job-video-0.mp4"') == (
            answer.headers["Content-Type"], answer.headers["Cache-Control"], answer.headers["Content-Disposition"],
        )  # fmt: skip
        said = {name: answer.headers.get(f"x-amz-meta-reelhook-{name}") for name in ("job", "task", "model", "sha256")}
        assert {"job": "01job", "task": "t1", "model": "kling-video-o1", "sha256": sha256_of(FILE)} == said


@pytest.mark.parametrize("code", ["NotImplemented", "AccessDenied"])
def test_where_the_store_copies_nothing_files_are_archived_all_the_same(
    settings: Settings, engine: Engine, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    """Without the hash in their metadata; it is asked for once, and said once."""
    with through_a_gate(settings, engine) as (made, worker, gate):
        gate.refuse("copy", 501 if code == "NotImplemented" else 403, code)
        for made.job_id in ("01job", "02job"):
            worker.job_id = made.job_id
            if made.job_id != "01job":
                copying_job(made)

            assert State.ARCHIVED is worker.work()
            stored = made.bucket.head(made.files[0].key)
            assert stored is not None
            assert None is stored.metadata.get("reelhook-sha256")
        assert 1 == gate.heard.count("copy")
        assert 1 == capsys.readouterr().out.count("archive.not_relabelled")


@pytest.mark.parametrize(
    ("status", "code"), [(400, "OperationNotSupported"), (503, "SlowDown"), (500, "InternalError")]
)
def test_no_word_of_the_store_about_the_copy_holds_a_film_up(
    settings: Settings, engine: Engine, status: int, code: str
) -> None:
    """One that nobody knows is taken for no; one that asks to wait is heeded twice."""
    with through_a_gate(settings, engine) as (made, worker, gate):
        gate.refuse("copy", status, code)
        works = 0
        while worker.work() is State.COPYING:
            works += 1
            made.clock.advance(100_000)

        assert (State.ARCHIVED, 2 if status >= 500 else 0) == (worker.state, works)


def test_a_copy_whose_answer_is_lost_is_seen(settings: Settings, engine: Engine) -> None:
    """It was done, and done again it finds another ETag than it was told: the object says that all is well."""
    with through_a_gate(settings, engine) as (made, worker, gate):
        gate.refuse("copy", 500, "InternalError", times=1, done_first=True)
        worker.until_end()

        proven(made, FILE)


def test_a_copy_that_fails_for_now_is_made_later(settings: Settings, engine: Engine) -> None:
    """A store that is busy costs time and no attempt; the file is adopted, not sent again."""
    with through_a_gate(settings, engine) as (made, worker, gate):
        gate.refuse("copy", 503, "SlowDown", times=4)
        assert State.COPYING is worker.work()
        assert [] == made.store.buckets.away()  # others' files are taken
        sent = gate.heard.count("part") + gate.heard.count("put")
        made.clock.advance(100_000)
        worker.until_end()

        proven(made, FILE)
        assert 0 == made.attempts
        assert sent + 3 == gate.heard.count("part") + gate.heard.count("put")  # pictures and manifest


@pytest.mark.parametrize("most", [0, FILE.size - 1])
def test_a_file_larger_than_allowed_is_not_copied(settings: Settings, engine: Engine, most: int) -> None:
    """S3_RELABEL_BYTES bounds what the store is asked for; 0 asks for nothing."""
    with through_a_gate(settings, engine, s3_relabel_bytes=most) as (made, worker, gate):
        assert State.ARCHIVED is worker.work()
        assert "copy" not in gate.heard
        assert sha256_of(FILE) == made.files[0].sha256


def test_a_film_of_usual_size_names_its_hash_without_a_copy(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """P2: it is laid down on the disk first, so it leaves in one piece that is labelled; nothing stays on the disk."""
    monkeypatch.setattr(source, "SPOOLED_BYTES", FILE.size)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with through_a_gate(settings, engine) as (made, worker, gate):
        assert State.ARCHIVED is worker.work()

        proven(made, FILE)
        assert {"put", "head"} == set(gate.heard)
        assert [] == list(tmp_path.iterdir())


def test_without_a_disk_it_is_labelled_later(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """P2: where nothing can be laid down, the file goes in parts as it comes, and the store copies it."""
    monkeypatch.setattr(source, "SPOOLED_BYTES", FILE.size)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not-there"))
    with through_a_gate(settings, engine) as (made, worker, gate):
        assert State.ARCHIVED is worker.work()

        proven(made, FILE)
        assert 1 == gate.heard.count("copy")


def test_what_the_bucket_takes_slowly_goes_on_in_parts(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1, P2: half of a slice was not enough for one piece: parts of what lies here follow, one stays of each slice,
    and the hash is named without a copy.
    """
    passed = [0.0]
    for module in (sender, parts):
        monkeypatch.setattr(module, "monotonic", lambda: monotonic() + passed[0])
    monkeypatch.setattr(parts, "PART_BYTES", 5 * 2**20)
    monkeypatch.setattr(source, "SPOOLED_BYTES", FILE.size)
    with through_a_gate(settings, engine) as (made, worker, gate):
        slow = worker.restarted(bucket=Late(worker.copier.bucket, passed))
        assert State.COPYING is slow.work()
        (begun,) = made.store.transfers.of(made.job_id)
        assert 5 * 2**20 == begun.size
        slow.until_end()

        proven(made, FILE)
        assert [0, 2] == [gate.heard.count(name) for name in ("copy", "part")]


class Late:
    """A bucket that takes very long for the first of a whole file's pieces."""

    def __init__(self, bucket: Any, passed: list[float]) -> None:
        self._bucket = bucket
        self._passed = passed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def put_stream(self, key: str, body: Any, length: int, **label: Any) -> str:
        """As the bucket has it, later."""
        body.read()
        self._passed[0] += 1000
        stored: str = self._bucket.put_stream(key, body, length, **label)
        return stored


def test_what_comes_slowly_goes_on_in_parts(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2: half of a slice was not enough to lay it down: the parts begin with what lies here, and go on with what
    comes; the store copies it in the end.
    """
    monkeypatch.setattr(sender, "_halfway", lambda _: 0.0)
    monkeypatch.setattr(parts, "PART_BYTES", 5 * 2**20)
    monkeypatch.setattr(parts, "LONGEST_PART", 5 * 2**20)
    monkeypatch.setattr(source, "SPOOLED_BYTES", FILE.size)
    with through_a_gate(settings, engine) as (made, worker, gate):
        assert State.ARCHIVED is worker.work()

        proven(made, FILE)
        assert [1, 2] == [gate.heard.count(name) for name in ("copy", "part")]
