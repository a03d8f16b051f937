"""`reelhook verify`: read stored files back and prove them again."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from infra.object_store import ObjectStore
from webhook import terminal
from webhook.abreast import in_order
from webhook.verdicts import Judge, Outcome, Question, Verdict
from worker.store.repository import Repository

#: What it exits with beside 0, all hold. What is wrong goes before what is not known.
_FAULT, _ASKED_WRONGLY, _UNASKED, _STOPPED = 1, 2, 3, 130
#: Objects that are read at once: enough to hide the way to the bucket, and each takes some MiB, a decoded film 35.
_AT_ONCE = 4


class NothingToRead(click.ClickException):
    """A job was named that has nothing in a bucket, or that there isn't."""

    exit_code = _ASKED_WRONGLY


@dataclass
class _Tally:
    """What came out so far."""

    jobs: int
    counted: Counter[Outcome] = field(default_factory=Counter)

    def __str__(self) -> str:
        few = [f"{self.counted[one]} {one.value}" for one in (Outcome.EXPIRED, Outcome.UNASKED) if self.counted[one]]
        return ", ".join([f"{self.counted[Outcome.HOLDS]} hold", f"{self.counted[Outcome.FAULT]} do not", *few])

    @property
    def code(self) -> int:
        """What to exit with."""
        if self.counted[Outcome.FAULT]:
            return _FAULT
        return _UNASKED if self.counted[Outcome.UNASKED] else 0


class _Shown:
    """How far it is, on a terminal, and lines for whoever reads them: those stand alone."""

    def __init__(self, *, machine: bool) -> None:
        self._machine = machine
        columns = TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn()
        console = Console(stderr=True)
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._reading: TaskID = self.progress.add_task("reading back", total=None)

    def read(self, size: int) -> None:
        """So many bytes more were read."""
        self.progress.advance(self._reading, size)

    def at(self, number: int, tally: _Tally) -> None:
        """The job that is read now."""
        self.progress.update(self._reading, description=f"job {number} of {tally.jobs}: {tally};")

    def say(self, verdict: Verdict) -> None:
        """Print what came out for one object."""
        self.progress.stop()
        click.echo(_as_json(verdict) if self._machine else terminal.printable(str(verdict)))
        self.progress.start()

    def sum_up(self, words: str) -> None:
        """The last line; programs that read the others don't get it among them."""
        click.echo(words, err=self._machine)


def _as_json(verdict: Verdict) -> str:
    return json.dumps(
        {
            "job": verdict.job_id,
            "key": verdict.key,
            "outcome": verdict.outcome.name.lower(),
            "reason": verdict.why,
            "bytes": verdict.size,
            "sha256": verdict.sha256,
        }
    )


def _questions(ids: Sequence[str], store: Repository, judge: Judge, shown: _Shown, tally: _Tally) -> Iterator[Question]:
    """For all files and manifests of the jobs."""
    for number, job_id in enumerate(ids, 1):
        shown.at(number, tally)
        if (job := store.get(job_id)) is not None:
            yield from judge.questions(job, store.files([job_id])[job_id], store.stored_at(job_id))


@click.command("verify")
@click.argument("job", required=False)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Jobs that were archived on that day (UTC) or later.")
@click.option("--json", "machine", is_flag=True, help="Print a line of JSON for each object, whatever came out for it.")
def verify(*, job: str | None, since: datetime | None, machine: bool) -> None:
    """Read archived files back from the bucket, prove them again.

    Those of JOB, or of all archived jobs, four at a time. Each file or manifest that does not hold is a line that says
    why. Exits 0 when all hold, 1 when one does not, 3 when the bucket would say nothing of one. What the bucket's own
    rule has deleted is counted apart, and is no fault.

    With --json a line has job, key, outcome (holds, fault, expired or unasked), reason, and bytes and sha256 as the
    object's row says them.
    """
    if job and since:
        raise click.UsageError("JOB and --since don't go together: a job is read whenever it was archived")
    settings = terminal.settings()
    store, shown = Repository(terminal.engine_of(settings)), _Shown(machine=machine)
    ids = [job] if job else store.archived(since.replace(tzinfo=UTC) if since else None)
    tally, judge = _Tally(len(ids)), Judge(ObjectStore(settings), shown.read)
    try:
        with shown.progress, closing(in_order(_questions(ids, store, judge, shown, tally), _AT_ONCE)) as verdicts:
            for verdict in verdicts:
                tally.counted[verdict.outcome] += 1
                if job or machine or verdict.outcome in {Outcome.FAULT, Outcome.UNASKED}:
                    shown.say(verdict)
    except BaseException as reason:
        if tally.counted or isinstance(reason, KeyboardInterrupt):
            shown.sum_up(f"stopped: so far {tally}")
        if isinstance(reason, KeyboardInterrupt):
            sys.exit(_STOPPED)
        raise
    if job and not tally.counted:
        raise NothingToRead(f"job {job} has no files, or there is no such job: here our id names it, the task_id")
    shown.sum_up(str(tally))
    sys.exit(tally.code)
