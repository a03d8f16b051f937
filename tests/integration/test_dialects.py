"""The whole archive on S3 servers of other make: the same file, the same proof, nothing left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import requests
from sqlalchemy import Engine

from infra.object_store import ObjectStore
from infra.settings import Settings
from tests.fakes import MORNING
from tests.integration.archive_kit import film, proven, video, yard
from tests.integration.stores_kit import other_store, over_tls
from tests.origin import File, film_of, origin
from webhook.examination import examine
from webhook.verdicts import Judge
from worker import parts, source
from worker.jobs.model import State

FILM = film()


@pytest.fixture(scope="module", params=["moto", "rclone"])
def elsewhere(
    request: pytest.FixtureRequest, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """Settings on the other server."""
    folder: Path = tmp_path_factory.mktemp("store")
    with other_store(request.param, settings, folder) as other:
        yield other


@pytest.mark.parametrize("size", [0, 12 * 2**20])
def test_a_film_is_archived_on_any_store(
    elsewhere: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """P2, P7: in one piece and in parts over three tasks and workers: stored, proven, linked to, verified again."""
    monkeypatch.setattr(parts, "PART_BYTES", 5 * 2**20)
    monkeypatch.setattr(parts, "LONGEST_PART", 5 * 2**20)
    monkeypatch.setattr(source, "SPOOLED_BYTES", 0)  # so that it goes in parts
    monkeypatch.setattr(parts, "LINGER", 60)  # a machine that is busy is no slow source
    file = film_of(FILM, size) if size else File.of(FILM)
    with (
        origin(film=file) as served,
        yard(elsewhere, engine, [video(served.link("film.mp4"))], slice_seconds=0.0) as made,
    ):
        while made.state is State.COPYING:
            made.restarted().work()

        assert State.ARCHIVED is made.state
        names = {"video-0.mp4", "video-0.poster.jpg", "video-0.sheet.jpg", "manifest.json"}
        assert (names, 0, 0) == made.left()
        assert Judge(made.bucket).of_file("01job", made.files[0], MORNING).why is None
        answer = requests.get(made.bucket.presign(made.files[0].key, seconds=60), timeout=10)
        assert file.read(0, file.size) == answer.content
        assert "video/mp4" == answer.headers["Content-Type"]
        assert made.files[0].sha256 == answer.headers["x-amz-meta-reelhook-sha256"]


@pytest.mark.parametrize("same", [True, False])
def test_where_an_etag_is_another_the_bytes_tell(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch, *, same: bool
) -> None:
    """P2: a store may call a file otherwise than it said, as rclone does of parts; what differs is not archived."""
    monkeypatch.setattr(source, "SPOOLED_BYTES", 0)
    file, complete = film_of(FILM, 17 * 2**20), ObjectStore.complete

    def completed(store: ObjectStore, key: str, upload: str, etags: Sequence[str]) -> str:
        complete(store, key, upload, etags)
        there = store.head(key)
        if not same and there:
            body = file.read(0, file.size - 1) + b"?"
            store.put(key, body, content_type=there.content_type, filename="x", metadata=there.metadata)
        return '"what nobody says again"'

    monkeypatch.setattr(ObjectStore, "complete", completed)
    with origin(film=file) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        made.work()

        assert (State.ARCHIVED if same else State.COPYING, 0 if same else 1) == (made.state, made.attempts)


def test_the_doctor_finds_nothing_wrong_with_any_store(elsewhere: Settings) -> None:
    """Everything that Reelhook needs is there, and nothing of the examination is left. moto asks nobody for a key,
    and rclone writes over what is there.
    """
    findings = {finding.tried: finding.good for finding in examine(elsewhere)}

    assert False not in findings.values()
    assert {"lifecycle rule"} == {name for name, good in findings.items() if good is None} - {"private", "create only"}
    assert ([], []) == (ObjectStore(elsewhere).keys("kling/reelhook"), ObjectStore(elsewhere).pending())


@pytest.fixture(scope="module")
def secure(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings for the embedded server behind TLS, where newer checksums follow the body."""
    with over_tls(settings, tmp_path_factory.mktemp("tls")) as (url, authority):
        there = {"s3_endpoint_url": url, "s3_ca_bundle": authority, "s3_checksums": "when_supported"}
        yield settings.model_copy(update=there)


@pytest.mark.parametrize(
    ("size", "says_length", "on_disk"),
    [
        (0, True, True),
        (9 * 2**20, True, True),
        (9 * 2**20, True, False),
        (17 * 2**20, True, True),
        (10 * 2**20, False, True),
    ],
)
def test_a_film_is_archived_over_tls(
    secure: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch, size: int, *, says_length: bool, on_disk: bool
) -> None:
    """P2, P7: what is held, laid down, passes by, and parts of both kinds are taken, their checksum behind them."""
    if not on_disk:
        monkeypatch.setattr(source, "SPOOLED_BYTES", 0)
    file = film_of(FILM, size) if size else File.of(FILM)
    file.says_length = says_length
    with origin(film=file) as served, yard(secure, engine, [video(served.link("film.mp4"))]) as made:
        made.work()

        proven(made, file)


@pytest.mark.parametrize(("size", "on_disk"), [(0, True), (9 * 2**20, True), (9 * 2**20, False)])
def test_newer_checksums_do_without_tls(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch, size: int, *, on_disk: bool
) -> None:
    """P2, P7: over plain HTTP a checksum stands before the body: it is left out where the body passes by once."""
    if not on_disk:
        monkeypatch.setattr(source, "SPOOLED_BYTES", 0)
    file = film_of(FILM, size) if size else File.of(FILM)
    plain = settings.model_copy(update={"s3_checksums": "when_supported"})
    with origin(film=file) as served, yard(plain, engine, [video(served.link("film.mp4"))]) as made:
        made.work()

        proven(made, file)
