"""What the demo shows: one line a job while they run, a table of what was proven at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from infra.stack.demo_proof import Proven
from infra.stack.demo_requests import Asked

_COLOURS = {"archived": "green", "copying": "cyan", "running": "blue"}
_ENDS_BADLY = {"failed", "cancelled", "unknown", "expired", "refused"}


@dataclass
class Followed:
    """A request on its way: what is known of it now."""

    asked: Asked
    task_id: str = ""
    state: str = "waiting"
    bytes_copied: int = 0
    bytes_total: int | None = None
    fault: str = ""
    proven: Sequence[Proven] = ()
    begun: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state == "archived" or self.state in _ENDS_BADLY


class Progress:
    """Lines that change on a terminal; elsewhere a new line for each change of state."""

    def __init__(self, console: Console, jobs: Sequence[Followed]) -> None:
        self._console = console
        self._jobs = jobs
        self._live = Live(console=console, refresh_per_second=8) if console.is_terminal else None
        self._shown: dict[str, str] = {}
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refresh()
        if self._live:
            self._live.stop()

    def refresh(self) -> None:
        """Show how things stand."""
        if self._live:
            self._live.update(_table(self._jobs))
            return
        seconds = time.monotonic() - self._begun  # of all, not of each job, so that lines stand in the order of time
        for job in self._jobs:
            if job.state != "waiting" and self._shown.get(job.asked.name) != job.state:
                self._shown[job.asked.name] = job.state
                what = f"{job.asked.name:<20} {job.asked.family:<20} {job.state:<10} {_bytes(job)}"
                self._console.print(f"  {seconds:5.1f} s  {what}".rstrip(), highlight=False)


def _table(jobs: Sequence[Followed]) -> Table:
    table = Table("job", "family", "state", "elapsed", "bytes", box=None, padding=(0, 2))
    table.columns[3].justify = table.columns[4].justify = "right"
    for job in jobs:
        colour = _COLOURS.get(job.state, "red" if job.state in _ENDS_BADLY else "dim")
        state = f"[{colour}]{job.state}[/{colour}]"
        table.add_row(job.asked.name, job.asked.family, state, f"{job.seconds:.1f} s", _bytes(job))
    return table


def _bytes(job: Followed) -> str:
    if not job.bytes_copied and not job.bytes_total:
        return ""
    total = f" of {megabytes(job.bytes_total)}" if job.bytes_total else ""
    return f"{megabytes(job.bytes_copied)}{total}"


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:.2f} MB"


def conclude(console: Console, jobs: Sequence[Followed]) -> None:
    """The final table, and the links in full below it so that a terminal makes them clickable."""
    table = Table(title="Read back from the bucket and proven", title_justify="left")
    for name in ("job", "family", "state", "S3 key", "size", "duration", "resolution", "SHA-256"):
        table.add_column(name, overflow="fold", justify="right" if name in {"size", "duration"} else "left")
    for job in jobs:
        if not job.proven:
            table.add_row(job.asked.name, job.asked.family, f"[red]{job.state}[/red]", "", "", "", "", "")
        for file in job.proven:
            seen = file.seen
            facts = (megabytes(seen.size), f"{seen.seconds:.2f} s", f"{seen.width}x{seen.height}", seen.sha256[:12])
            table.add_row(job.asked.name, job.asked.family, job.state, file.key, *facts)
    console.print()
    console.print(table)
    if any(job.proven for job in jobs):
        console.print("\nLinks, each opened and compared (they end with the demo; `make up` keeps its bucket running):")
    for job in jobs:
        for file in job.proven:
            console.print(f"[bold]{escape(job.asked.name)}[/bold]", highlight=False)
            console.print(file.url, markup=False, highlight=False, soft_wrap=True)
    for job in jobs:
        if job.fault:
            console.print(f"[bold red]{escape(job.asked.name)}:[/bold red] {escape(job.fault)}", highlight=False)
