"""The headline: thousands of jobs through a storm of deaths and wipes; and plain Celery through the same storm."""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from infra.stack.deployment import PROJECT
from tests.chaos.promises import judge
from tests.chaos.storm import WIPE, Blow, plan, strike
from tests.chaos.world import TEXT, World
from worker.jobs.model import ENDS, State

#: Where the figures are written.
RESULT = PROJECT / ".reelhook" / "chaos" / "headline.json"
_TWO = {"worker": 2}
#: Two cores are expected; and no posters, as plain Celery makes none either.
_SMALL = {"WORKER_CONCURRENCY": "2", "WEB_CONCURRENCY": "1", "POSTERS": "false"}
#: Seconds after which plain Celery's broker gives back what a lost worker held: far longer than any of its tasks takes.
_VISIBILITY_SECONDS = 60
#: What is open and does not move for so long is stuck.
_STILL_SECONDS = 120
#: Plain Celery has ended when its broker holds nothing and it told nothing new for so long: no task of it waits longer.
_SILENT_SECONDS = 30
_SAY_SECONDS = 20


@dataclass(frozen=True)
class Size:
    """How much."""

    jobs: int
    kills: int
    wipes: int
    seconds: float


@dataclass
class Outcome:
    """What became of the jobs of one side."""

    name: str
    jobs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    wipes: int = 0
    lost: int = 0  #: accepted, and gone or ended without a file
    stuck: int = 0  #: accepted, and neither ended nor told
    creates_twice: int = 0
    files_twice: int = 0
    told_twice: int = 0
    recovery: list[float] = field(default_factory=list)
    seconds: float = 0
    broken: list[str] = field(default_factory=list)

    def struck(self, blow: Blow) -> None:
        """Count a blow."""
        if blow.target == WIPE:
            self.wipes += 1
        else:
            self.kills[blow.target.partition(".")[0].partition(" ")[0]] += 1

    @property
    def whole(self) -> bool:
        """Whether nothing was lost, stuck, or paid for twice, and every promise held."""
        return not (self.lost or self.stuck or self.creates_twice or self.broken)


def run(size: Size, console: Console) -> bool:
    """Play both sides, show them side by side, write them down; whether Reelhook's is whole."""
    blows = plan(size.kills, size.wipes, size.jobs)
    sides = [_reelhook(size, blows, console), _plain(size, blows, console)]
    console.print(_table(sides))
    for fault in sides[0].broken:
        console.print(f"    {fault}", highlight=False, markup=False)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    figures = {side.name: asdict(side) | {"kills": dict(side.kills)} for side in sides}
    RESULT.write_text(json.dumps({"name": "headline", "size": asdict(size), "figures": figures}, indent=1))
    return sides[0].whole


# --- Reelhook ---------------------------------------------------------------------------------------------------------
def _reelhook(size: Size, blows: list[Blow], console: Console) -> Outcome:
    outcome = Outcome("Reelhook")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reelhook-headline-") as folder:
        with World(Path(folder) / "world", formation=_TWO, more=_SMALL, proxied=False) as world:
            told = _Told(world)
            with (
                world.scenario("headline") as run_,
                _shown(console, outcome, size, lambda: len(run_.jobs), told.jobs),
            ):
                with _stream(size, lambda: _submit(world)):
                    strike(world, blows, outcome.struck, lambda: len(run_.jobs))
                world.is_healed()
                _settle(world, told)
            facts, outcome.broken = judge(world, frozenset({State.ARCHIVED}))
        pending = {one["job_id"] for one in facts.deliveries if one["state"] == "pending"}
        outcome.jobs = len(run_.jobs)
        outcome.stuck = len(pending | {job for job, row in facts.jobs.items() if row["state"] not in ENDS})
        outcome.lost = facts.lost - sum(row["state"] not in ENDS for row in facts.jobs.values())
        outcome.creates_twice, outcome.files_twice = facts.creates_twice, facts.files_twice
        outcome.told_twice = len(world.app.raw) - told.jobs()
        outcome.recovery = facts.recovery
    outcome.seconds = time.monotonic() - began
    return outcome


def _settle(world: World, told: _Told) -> None:
    """Until all is done, or nothing more happens."""
    known = -1
    while not world.settle(_STILL_SECONDS) and told.jobs() > known:
        known = told.jobs()


def _submit(world: World) -> None:
    world.submit()


# --- plain Celery -----------------------------------------------------------------------------------------------------
def _plain(size: Size, blows: list[Blow], console: Console) -> Outcome:
    outcome = Outcome("plain Celery")
    began = time.monotonic()
    accepted: list[str] = []
    more = {**_SMALL, "PLAIN_VISIBILITY_SECONDS": str(_VISIBILITY_SECONDS)}
    procfile = Path(__file__).with_name("plain") / "Procfile"
    with (
        tempfile.TemporaryDirectory(prefix="reelhook-headline-") as folder,
        World(Path(folder) / "world", formation=_TWO, procfile=procfile, more=more, proxied=False) as world,
    ):
        world.await_door()
        told = _Told(world)
        with _shown(console, outcome, size, lambda: len(accepted), told.jobs):
            with _stream(size, lambda: _post(world, accepted)):
                strike(world, blows, outcome.struck, lambda: len(accepted))
            healed = time.time()
            told.wait_for(accepted, lambda: _held(world))
        _count(outcome, world, accepted, healed)
    outcome.seconds = time.monotonic() - began
    return outcome


def _post(world: World, accepted: list[str]) -> None:
    """A caller who is patient, as Reelhook's is."""
    job = f"plain-{len(accepted)}"
    asked = {"job": job, "request": TEXT, "callback_url": world.app.url}
    while True:
        with suppress(requests.RequestException):
            if requests.post(f"{world.url}/videos", json=asked, timeout=30).status_code == 202:
                accepted.append(job)
                return
        time.sleep(0.5)


def _held(world: World) -> int:
    """Messages of plain Celery that its broker still has, with those that a worker has taken and not confirmed."""
    with world.redis() as broker:
        return int(broker.llen("celery") + broker.hlen("unacked"))


class _Told:
    """What the receiver was told so far."""

    def __init__(self, world: World) -> None:
        self._app = world.app
        self._read = 0
        self._known: set[str] = set()

    def jobs(self) -> int:
        """How many jobs it was told of."""
        while self._read < len(self._app.raw):
            self._known.add(json.loads(self._app.raw[self._read])["task_id"])
            self._read += 1
        return len(self._known)

    def wait_for(self, accepted: list[str], holds: Callable[[], int]) -> None:
        """Until it was told of all, or nothing new came: for a while where the broker `holds` nothing that could still
        come, else for longer than it may hold a message back.
        """
        known, since = self.jobs(), time.monotonic()
        while known < len(accepted):
            time.sleep(1)
            if (now := self.jobs()) > known:
                known, since = now, time.monotonic()
            if time.monotonic() > since + _SILENT_SECONDS + (_VISIBILITY_SECONDS if holds() else 0):
                return


def _count(outcome: Outcome, world: World, accepted: list[str], healed: float) -> None:
    last = {body["task_id"]: at for body, at in zip(world.app.bodies, world.app.moments, strict=True)}
    succeeded = {body["task_id"] for body in world.app.bodies if body["task_status"] == "succeed"}
    made = Counter(str(task["external_task_id"]).partition(".")[0] for task in world.emulator("GET", "state")["tasks"])
    outcome.jobs = len(accepted)
    outcome.lost = len(set(accepted) - succeeded)
    outcome.creates_twice = sum(count - 1 for count in made.values())
    outcome.told_twice = len(world.app.raw) - len(last)
    outcome.recovery = [at - healed for at in last.values() if at > healed]


# --- both -------------------------------------------------------------------------------------------------------------
@contextmanager
def _stream(size: Size, submit: Callable[[], None]) -> Iterator[None]:
    """While the block runs, jobs come in evenly; when it ends, all of them are in."""
    failed: list[BaseException] = []
    given_up = threading.Event()

    def work() -> None:
        began = time.monotonic()
        try:
            for number in range(size.jobs):
                if given_up.wait(max(began + number * size.seconds / size.jobs - time.monotonic(), 0)):
                    return
                submit()
        except AssertionError as fault:
            failed.append(fault)

    thread = threading.Thread(target=work, name="stream")
    thread.start()
    try:
        yield
    except BaseException:
        given_up.set()
        raise
    finally:
        thread.join()
    if failed:
        raise failed[0]


@contextmanager
def _shown(
    console: Console, outcome: Outcome, size: Size, taken: Callable[[], int], told: Callable[[], int]
) -> Iterator[None]:
    """How far it is, as bars on a terminal, else as a line now and then."""
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    totals = (("jobs accepted", size.jobs), ("jobs told of", size.jobs), ("deaths", size.kills), ("wipes", size.wipes))
    ending = threading.Event()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bars = [progress.add_task(f"{outcome.name}: {what}", total=total) for what, total in totals]

        def look() -> tuple[int, ...]:
            now = (taken(), told(), outcome.kills.total(), outcome.wipes)
            for bar, value in zip(bars, now, strict=True):
                progress.update(bar, completed=value)
            return now

        def work() -> None:
            turn = 0
            while not ending.wait(1):
                now, turn = look(), turn + 1
                if not console.is_terminal and turn % _SAY_SECONDS == 0:
                    words = (f"{value} of {total} {what}" for value, (what, total) in zip(now, totals, strict=True))
                    console.print(f"{outcome.name}, {turn} s: {', '.join(words)}", highlight=False)

        thread = threading.Thread(target=work, name="shown")
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()
            look()


def _table(sides: list[Outcome]) -> Table:
    shown = Table(title="The headline: the same jobs through the same deaths and wipes")
    shown.add_column("")
    for side in sides:
        shown.add_column(side.name, justify="right")
    for what, value in _ROWS.items():
        shown.add_row(what, *(value(side) for side in sides))
    shown.caption = "To recover: from the last blow to the receiver's word, of the jobs that were open then."
    return shown


def _seconds(values: list[float], of: Callable[[list[float]], float]) -> str:
    return f"{of(values):.1f}" if values else "-"


_ROWS: dict[str, Callable[[Outcome], str]] = {
    "jobs": lambda side: str(side.jobs),
    "kills": lambda side: (
        f"{side.kills.total()} ({', '.join(f'{n} {name}' for name, n in sorted(side.kills.items()))})"
    ),
    "broker wipes": lambda side: str(side.wipes),
    "lost": lambda side: str(side.lost),
    "stuck": lambda side: str(side.stuck),
    "duplicated creates (paid twice)": lambda side: str(side.creates_twice),
    "duplicated files": lambda side: str(side.files_twice),
    "told more than once": lambda side: str(side.told_twice),
    "to recover s (median)": lambda side: _seconds(side.recovery, statistics.median),
    "to recover s (worst)": lambda side: _seconds(side.recovery, max),
    "took s": lambda side: f"{side.seconds:.0f}",
}
