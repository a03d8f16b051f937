"""`reelhook doctor`, `reelhook verify`, and the sweep of abandoned uploads, on a real bucket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy import Engine

from infra.http import Http
from infra.object_store import ObjectStore, StoreError
from infra.settings import Settings
from tests.integration.archive_kit import Yard, film, video, yard
from tests.origin import File, origin
from webhook.cli import main
from webhook.doctor import examine, words_for
from webhook.verify import verify_files
from worker.store.transfers import Transfers
from worker.tasks.tidy import tidy

FILM = film()


@pytest.fixture
def made(settings: Settings, engine: Engine) -> Iterator[Yard]:
    """A job of one film, archived."""
    with origin(film=File.of(FILM)) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as yarded:
        yarded.work()
        yield yarded


def test_a_healthy_bucket_passes(settings: Settings, bucket: ObjectStore) -> None:
    """Everything that is needed works, and nothing stays behind; a missing lifecycle rule is a note only."""
    before = bucket.keys("")
    findings = {finding.tried: finding.good for finding in examine(settings, Http())}

    assert [True] * 6 + [None] == list(findings.values())
    assert before == bucket.keys("")
    assert [] == bucket.pending()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"s3_access_key_id": SecretStr("reelhook:nobody")}, "access key|SECRET"),
        ({"s3_secret_access_key": SecretStr("wrong")}, "S3_SECRET_ACCESS_KEY"),
        ({"s3_bucket": "not-there"}, "no such bucket"),
        ({"s3_endpoint_url": "nobody"}, "can't be reached"),
    ],
)
def test_the_doctor_says_what_is_wrong(settings: Settings, changes: dict[str, object], words: str) -> None:
    """A wrong key, secret, bucket, region or address is named in words, with the setting to look at."""
    if changes.get("s3_endpoint_url"):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            changes = {"s3_endpoint_url": f"http://127.0.0.1:{listener.getsockname()[1]}"}
    (finding,) = examine(settings.model_copy(update=changes), Http())

    assert finding.good is False
    assert any(word in finding.words for word in words.split("|")), finding.words


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("RequestTimeTooSkewed", "clock"),
        ("AuthorizationHeaderMalformed", "S3_REGION"),
        ("XAmzContentSHA256Mismatch", "S3_CHECKSUMS"),
        ("AccessDenied", "not permitted"),
        ("SomethingNew", "SomethingNew"),
    ],
)
def test_what_only_other_stores_say_has_words_too(code: str, words: str) -> None:
    """Codes that the embedded server never sends are told in words as well; an unknown one as it is."""
    fault = StoreError(f"S3 put: {code} x")
    fault.code = code

    assert words in words_for(fault)


def test_the_lifecycle_rule_can_be_printed() -> None:
    """What `aws s3api put-bucket-lifecycle-configuration` takes."""
    shown = CliRunner().invoke(main, ["doctor", "--lifecycle"])

    assert {"DaysAfterInitiation": 2} == json.loads(shown.output)["Rules"][0]["AbortIncompleteMultipartUpload"]


def test_verify_tells_whole_files_from_others(made: Yard) -> None:
    """A proven file holds; changed, cut or gone it does not, and each is said differently."""
    file = made.files[0]
    label = {"content_type": "video/mp4", "filename": "x.mp4", "metadata": {}}

    def fault() -> str | None:
        (verdict,) = verify_files([(made.job_id, file)], made.bucket)
        return verdict.fault

    assert fault() is None
    made.bucket.put(file.key, FILM[:-1] + b"x", **label)  # type: ignore[arg-type]  # ** of mixed values
    assert "holds other bytes than were proven" == fault()
    made.bucket.put(file.key, FILM[:-1], **label)  # type: ignore[arg-type]  # as above
    assert f"has {len(FILM) - 1} bytes instead of {len(FILM)}" == fault()
    made.bucket.delete(file.key)
    assert "is not there" == fault()


def test_verify_finds_the_jobs_of_a_time(made: Yard) -> None:
    """All archived jobs, or those since a day."""
    day = made.clock()

    assert [made.job_id] == made.store.archived() == made.store.archived(day)
    assert [] == made.store.archived(day + timedelta(days=1))


def test_old_uploads_that_no_row_knows_are_ended(made: Yard, engine: Engine) -> None:
    """A day later an upload whose worker died is ended; a young one, and one of others' keys, are left alone."""
    label = {"content_type": "video/mp4", "filename": "x.mp4", "metadata": {}}
    assert [] == made.bucket.pending()
    for key in ("kling/lost.mp4", "others/theirs.mp4"):
        made.bucket.begin(key, **label)  # type: ignore[arg-type]  # ** of mixed values
    left = []
    for hours in (0, 25):
        later = partial(datetime.now(UTC).__add__, timedelta(hours=hours))
        tidy(transfers=Transfers(engine), bucket=made.bucket, clock=later, prefix="kling/")
        left.append([pending.key for pending in made.bucket.pending()])

    for pending in made.bucket.pending():
        made.bucket.abort(pending.key, pending.upload_id)
    assert [["kling/lost.mp4", "others/theirs.mp4"], ["others/theirs.mp4"]] == left
