"""A deploy: the version after this one comes up beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.stack.deployment import GRACE_SECONDS
from infra.stack.kept import free_port
from infra.stack.procfile import Runner, parse
from tests.chaos.world import World, is_ready, until
from tests.next_version import next_version


@contextmanager
def deployed(world: World) -> Iterator[Runner]:
    """Another version's whole deployment beside the world's, whose release has brought the database on.

    Callers come to either door meanwhile, and the old one must stay ready.
    """
    folder, port = world.deployment.state / "next", free_port()
    door = f"http://127.0.0.1:{port}"
    env = {**world.deployment._make_runner()._env, **next_version(folder)}
    commands = parse((folder / "Procfile").read_text())
    other = Runner(
        {name if name == "release" else f"{name}-next": command for name, command in commands.items()},
        env,
        world.deployment.state,
        cwd=folder,
        grace=GRACE_SECONDS,
        own_env={"web-next": {"PORT": str(port), "HOST": "127.0.0.1"}},
    )
    other.release()
    if not is_ready(world.url):
        world.run.faults.append("the old door is not ready beside the newer database")
    other.start()
    try:
        until(lambda: is_ready(door), 60)
        world.doors = [world.url, door]
        yield other
    finally:
        world.doors = []
        other.stop()
