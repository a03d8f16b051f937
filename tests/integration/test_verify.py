"""`reelhook verify` on a real bucket: what holds, what does not, what had to go, and what nobody can say."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from subprocess import Popen

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, update

from infra.object_store import ObjectStore
from infra.settings import Settings
from tests.fakes import MORNING
from tests.integration.archive_kit import Yard, film, video, yard
from tests.origin import File, origin
from tests.s3_gate import Gate
from webhook import terminal
from webhook.cli import main
from webhook.verdicts import Judge, Outcome
from worker.jobs.model import State
from worker.store.tables import files, jobs

FILM = film()


@pytest.fixture
def gate(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """What stands between `reelhook verify` and the bucket. Nobody waits for a bucket that does not answer."""
    monkeypatch.setattr("webhook.verdicts._PATIENCE", 0.0)
    with Gate(settings.s3_endpoint_url or "") as between:
        elsewhere = settings.model_copy(update={"s3_endpoint_url": between.url})
        monkeypatch.setattr(terminal, "load", lambda: elsewhere)
        yield between


def ask(*words: str) -> Result:
    """What `reelhook verify WORDS` does."""
    return CliRunner().invoke(main, ["verify", *words])


def test_verify_tells_whole_files_from_others(made: Yard) -> None:
    """A proven file holds; changed, cut or gone it does not, and each is said differently."""
    file = made.files[0]
    label = {"content_type": "video/mp4", "filename": "x.mp4", "metadata": {}}

    def fault() -> str | None:
        return Judge(made.bucket).of_file(made.job_id, file, MORNING).why

    assert fault() is None
    made.bucket.put(file.key, FILM[:-1] + b"x", **label)  # type: ignore[arg-type]  # ** of mixed values
    assert "holds other bytes than were proven" == fault()
    made.bucket.put(file.key, FILM[:-1], **label)  # type: ignore[arg-type]  # as above
    assert f"has {len(FILM) - 1} bytes instead of {len(FILM)}" == fault()
    made.bucket.delete(file.key)
    assert "is not there" == fault()


def test_verify_looks_at_pictures_too(made: Yard) -> None:
    """A poster or a sheet that is gone, is another picture under the old label, none under a new one, or too large to
    be read at all, is a fault of its film.
    """
    (file,) = made.files

    def fault() -> str:
        return Judge(made.bucket).of_file(made.job_id, file, MORNING).why or ""

    assert file.poster_key is not None
    assert file.sheet_key is not None
    stored = made.bucket.head(file.sheet_key)
    assert stored is not None
    made.bucket.put(file.sheet_key, b"x", content_type="image/jpeg", filename="x.jpg", metadata=stored.metadata)
    assert "its contact sheet holds other bytes than were made" == fault()
    made.bucket.put(file.sheet_key, b"x", content_type="image/jpeg", filename="x.jpg", metadata={})
    assert fault().startswith("its contact sheet does not begin as a picture")
    large = bytes(17 * 2**20)
    made.bucket.put(file.sheet_key, large, content_type="image/jpeg", filename="x.jpg", metadata={})
    assert f"its contact sheet has {len(large)} bytes, more than any picture of ours" == fault()

    made.bucket.delete(file.poster_key)
    assert "its poster is not there" == fault()


def test_the_command_says_what_does_not_hold(made: Yard, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It exits 0 while all holds; 1, with key and reason, once one does not; 2 where there is no such job."""
    monkeypatch.setattr(terminal, "load", lambda: settings)
    assert (0, "2 hold, 0 do not\n", "") == ((well := ask()).exit_code, well.stdout, well.stderr)
    key = made.files[0].key
    made.bucket.delete(key)

    told = ask("--since", "2026-11-21")
    assert (1, f"{made.job_id} {key}: is not there\n1 hold, 1 do not\n") == (told.exit_code, told.stdout)
    assert (0, "0 hold, 0 do not\n") == ((none := ask("--since", "2027-01-01")).exit_code, none.stdout)
    assert [2, 2] == [ask("nobody").exit_code, ask(made.job_id, "--since", "2026-11-21").exit_code]


def test_verify_reads_the_manifest_that_was_written(
    made: Yard, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the key and the hash in its row, also under another template; its metadata name task and model."""
    changed = settings.model_copy(update={"s3_key_template": "elsewhere/{job}/{name}.{extension}"})
    monkeypatch.setattr(terminal, "load", lambda: changed)
    job = made.store.get(made.job_id)
    assert job is not None
    assert job.manifest_key is not None
    stored = made.bucket.head(job.manifest_key)
    assert stored is not None
    assert {
        "reelhook-job": "01job",
        "reelhook-task": "t1",
        "reelhook-model": "kling-video-o1",
        "reelhook-family": "videos-omni-video",
        "reelhook-sha256": job.manifest_sha256,
    } == stored.metadata
    assert 0 == ask().exit_code

    said = []
    for change in (
        lambda: made.bucket.put(job.manifest_key or "", b"{}", content_type="a/b", filename="m", metadata={}),
        lambda: made.bucket.delete(job.manifest_key or ""),
    ):
        change()
        told = ask()
        said.append((told.exit_code, told.stdout.splitlines()[0].removeprefix(f"01job {job.manifest_key}: ")))
    assert [(1, "holds other bytes than were written"), (1, "is not there")] == said


@pytest.mark.parametrize(
    ("days", "code", "said"), [(30, 0, "1 hold, 0 do not, 1 expired by rule"), (400, 1, "1 hold, 1 do not")]
)
def test_what_a_rule_has_deleted_is_no_fault(
    moto: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch, days: int, code: int, said: str
) -> None:
    """A file that is gone and as old as the bucket's own rule lets objects be is told apart, however long its job went
    on after it; a younger one is missing. The rule is the one that `reelhook doctor --set-lifecycle` sets.
    """
    monkeypatch.setattr(terminal, "load", lambda: moto)
    with (
        origin(film=File.of(FILM)) as served,
        yard(moto, engine, [video(served.link("film.mp4"))]) as made,
    ):
        assert State.ARCHIVED is made.work()
        told = CliRunner().invoke(main, ["doctor", "--set-lifecycle", "--expire-days", str(days)])
        assert 0 == told.exit_code, told.output
        assert {days} == {rule["Expiration"]["Days"] for rule in made.bucket.lifecycle() if "Expiration" in rule}
        now = datetime.now(UTC)
        with engine.begin() as connection:
            connection.execute(update(files).values(stored_at=now - timedelta(days=31)))
            connection.execute(update(jobs).values(updated_at=now - timedelta(days=29)))
        made.bucket.delete(made.files[0].key)
        told = ask()

    assert (code, said) == (told.exit_code, told.stdout.splitlines()[-1])


def test_a_bucket_that_is_away_says_nothing_against_a_file(made: Yard, gate: Gate) -> None:
    """Its files are not known, which has an exit code of its own, and once it answers they hold."""
    gate.refuse("head", 503, "")
    told = ask()
    gate.refusals.clear()

    assert (3, "0 hold, 0 do not, 2 could not be asked") == (told.exit_code, told.stdout.splitlines()[-1])
    assert [True, True] == [": not known: " in line for line in told.stdout.splitlines()[:-1]]
    assert (0, "2 hold, 0 do not\n") == ((well := ask()).exit_code, well.stdout)
    assert made.files


def test_a_bucket_that_stays_away_is_not_asked_for_each_file(made: Yard, gate: Gate) -> None:
    """After three objects that it would say nothing of; what is known of the others is said all the same."""
    (file,) = made.files
    judge = Judge(ObjectStore(terminal.settings()))
    gate.refuse("get", 503, "")
    outcomes = [judge.of_file("01job", file, MORNING).outcome for _ in range(2)]
    gate.refusals.clear()
    outcomes.append(judge.of_file("01job", file, MORNING).outcome)
    gate.refuse("head", 503, "")
    outcomes += [judge.of_file("01job", file, MORNING).outcome for _ in range(3)]
    heard = len(gate.heard)
    outcomes.append(judge.of_file("01job", file, MORNING).outcome)

    away, holds = Outcome.UNASKED, Outcome.HOLDS
    assert [away, away, holds, away, away, away, away] == outcomes
    assert heard == len(gate.heard)


def test_a_bucket_is_waited_for(made: Yard, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails for a moment costs nobody the hours that were read before."""
    monkeypatch.setattr("webhook.verdicts._PATIENCE", 60.0)
    monkeypatch.setattr("webhook.verdicts._PAUSE", 0.0)
    gate.refuse("head", 503, "", times=10)

    assert (0, "2 hold, 0 do not\n") == ((well := ask()).exit_code, well.stdout)
    assert made.files


@pytest.mark.parametrize(
    ("operations", "code", "said"),
    [
        (("head", "get"), "AccessDenied", "not permitted to do this: it needs s3:GetObject; or it is not there"),
        (("head", "get"), "SignatureDoesNotMatch", "look at S3_SECRET_ACCESS_KEY"),
        (("get",), "AccessDenied", "not permitted to do this: it needs s3:GetObject; or it is not there"),
        (("get",), "InvalidObjectState", "a cold one"),
    ],
)
def test_who_may_not_look_does_not_call_a_file_bad(
    made: Yard, gate: Gate, operations: tuple[str, ...], code: str, said: str
) -> None:
    """The line says what the store's key lacks, or where the object is."""
    for operation in operations:
        gate.refuse(operation, 403, code)
    told = ask(made.job_id)

    assert 3 == told.exit_code
    assert [True, True] == [said in line for line in told.stdout.splitlines()[:-1]]


def test_a_bucket_that_is_none_is_not_a_loss_of_all_files(
    made: Yard, settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name may be wrong: a store says the same of each object, and why it is asked once more."""
    monkeypatch.setattr(terminal, "load", lambda: settings)
    with engine.begin() as connection:
        connection.execute(update(files).values(bucket="nobodys"))
    told = ask(made.job_id)

    assert 3 == told.exit_code
    assert [True, True] == ["there is no bucket of this name" in line for line in told.stdout.splitlines()[:-1]]


def test_what_is_missing_goes_before_what_is_not_known(made: Yard, gate: Gate) -> None:
    """A file is gone, and of its manifest the bucket says nothing: that is exit code 1, and both are counted."""
    (file,) = made.files
    made.bucket.delete(file.key)
    gate.refuse("head", 503, "", ends="manifest.json")
    told = ask()

    assert (1, "0 hold, 1 do not, 1 could not be asked") == (told.exit_code, told.stdout.splitlines()[-1])


def test_whoever_stops_it_hears_how_far_it_came(made: Yard, command: Callable[..., Popen[str]], gate: Gate) -> None:
    """Ctrl-C while the bucket is silent about the manifest: what was read is counted, nobody waits for the bucket, and
    the exit code is no verdict.
    """
    silent = threading.Event()
    gate.refuse("get", 503, "", ends="manifest.json", when=lambda _: silent.wait(60))
    with command("verify", made.job_id, S3_ENDPOINT_URL=gate.url) as running:
        assert running.stdout is not None
        told = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate(timeout=30)
    silent.set()

    assert f"{made.job_id} {made.files[0].key}: holds\n" == told
    assert (130, "stopped: so far 1 hold, 0 do not\n") == (running.returncode, rest)


def test_objects_are_read_beside_each_other_and_told_in_their_order(made: Yard, gate: Gate) -> None:
    """The manifest's answer comes first, and its line last."""
    manifest, film = threading.Event(), made.files[0].key

    def told(_: object) -> bool:
        manifest.set()
        return False

    gate.refuse("get", 500, "", ends="manifest.json", when=told)
    gate.refuse("get", 403, "AccessDenied", ends=film, when=lambda _: not manifest.wait(30))

    assert [f"{made.job_id} {film}: holds", "2 hold, 0 do not"] == [
        line for line in ask(made.job_id).stdout.splitlines() if "manifest" not in line
    ]


def test_programs_get_a_line_for_each_object(made: Yard, gate: Gate) -> None:
    """With what its row says of it, whatever came out. The sum, which is none of them, goes to standard error."""
    (file,) = made.files
    job = made.store.get(made.job_id)
    assert job is not None
    film = {"job": made.job_id, "key": file.key, "bytes": len(FILM), "sha256": file.sha256}
    manifest = {"job": made.job_id, "key": job.manifest_key, "bytes": None, "sha256": job.manifest_sha256}
    well = ask("--json")
    made.bucket.delete(file.key)
    gate.refuse("head", 403, "AccessDenied", ends="manifest.json")
    gate.refuse("get", 403, "AccessDenied", ends="manifest.json")
    ill = ask(made.job_id, "--json")

    holds = {"outcome": "holds", "reason": None}
    assert [film | holds, manifest | holds] == [json.loads(line) for line in well.stdout.splitlines()]
    gone, unasked = (json.loads(line) for line in ill.stdout.splitlines())
    assert film | {"outcome": "fault", "reason": "is not there"} == gone
    assert ("unasked", True) == (unasked["outcome"], "s3:GetObject" in unasked["reason"])
    assert ["2 hold, 0 do not\n", "0 hold, 1 do not, 1 could not be asked\n"] == [well.stderr, ill.stderr]


def test_verify_finds_the_jobs_of_a_time(made: Yard) -> None:
    """All archived jobs, or those since a day."""
    day = made.clock()

    assert [made.job_id] == made.store.archived() == made.store.archived(day)
    assert [] == made.store.archived(day + timedelta(days=1))
