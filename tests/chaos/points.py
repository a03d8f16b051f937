"""Processes die at chosen points: as a request of theirs passes a proxy, or just before they hear its answer."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from infra.stack.process import wait_until
from tests.chaos.world import World, until
from tests.proxy import When

_PATH = "/v1/videos/omni-video"
_PATIENCE_SECONDS = 15


@dataclass(frozen=True)
class Point:
    """Where somebody dies."""

    way: str  #: the proxy
    needle: bytes  #: of the request
    when: When


POINTS = [
    Point(way, needle, when)
    for way, needle in (
        ("emulator", f"POST {_PATH} ".encode()),
        ("emulator", f"GET {_PATH}/".encode()),
        ("s3", b"/video-0.mp4 "),
        ("s3", b"/manifest.json "),
        # Moves are mostly one statement without a transaction: with each goes the name of its entry in the timeline.
        ("postgres", b"job."),
        ("redis", b"BRPOP"),
    )
    for when in ("before", "after")
]


def killed_at_points(world: World, jobs: int, rounds: int) -> None:
    """SIGKILL whoever asks Kling, the bucket, the database or the broker: before it is heard, and before it hears."""
    with world.load(jobs, every=0.4):
        for point in POINTS:
            trap = _Trap(world, rounds)
            world.proxies[point.way].on(point.needle, trap, when=point.when)
            wait_until(lambda trap=trap: trap.left == 0, _PATIENCE_SECONDS)  # type: ignore[misc]  # mypy can't infer a lambda with defaults
            world.proxies[point.way].off()
            if trap.left == rounds:
                world.run.faults.append(f"nobody came by {point}")


def deadly_work(world: World, jobs: int, _rounds: int) -> None:
    """Two jobs whose work kills each process that does it, one by its files and one by its task, among others."""
    by_files, by_task = world.submit(2, prompt="a cat [fate: slow=3]")
    world.proxies["s3"].on(f"/{by_files}/".encode(), _Trap(world, 100), when="before")
    world.proxies["emulator"].on(f"GET {_PATH}/{_task_of(world, by_task)}".encode(), _Trap(world, 100), when="after")
    others = world.submit(jobs, every=0.5)

    def ended() -> bool:
        return not world.rows("select 1 from jobs where id = any(%s) and due_at is not null", world.run.jobs)

    wait_until(ended, 240, pause=0.5)  # what kills as it clears away has the job to itself for a minute and a half
    world.is_healed()
    for way in ("s3", "emulator"):
        world.proxies[way].off()
    rows = world.rows("select id, state, error_code from jobs where id = any(%s)", world.run.jobs)
    found = {row["id"]: (row["state"], row["error_code"]) for row in rows}
    wanted: dict[str, tuple[str, str | None]] = dict.fromkeys(others, ("archived", None))
    wanted |= {by_files: ("failed", "set_aside"), by_task: ("expired", "set_aside")}
    world.run.faults += [f"{job} ended {found[job]}, not {end}" for job, end in wanted.items() if found[job] != end]
    shown = world.command("set-aside")
    world.run.faults += [f"{job} is not shown as set aside" for job in (by_files, by_task) if job not in shown]


def _task_of(world: World, job: str) -> str:
    def known() -> str:
        return str(world.rows("select coalesce(provider_task_id, '') as id from jobs where id = %s", job)[0]["id"])

    until(lambda: known() != "")
    return known()


class _Trap:
    """Kills who asks, so many times in all."""

    def __init__(self, world: World, times: int) -> None:
        self._world = world
        self._lock = Lock()
        self.left = times

    def __call__(self, port: int) -> bool:
        """Whether the client that speaks from `port` was killed."""
        with self._lock:
            if not self.left or not self._world.kill_client(port):
                return False
            self.left -= 1
            return True
