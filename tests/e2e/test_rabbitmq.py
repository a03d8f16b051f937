"""RabbitMQ in Redis's place, by CLOUDAMQP_URL alone: Debian's server where it is on PATH."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from infra.queue import Queue, make_celery
from infra.settings import Settings
from infra.stack.kept import free_port
from infra.stack.process import Child, wait_until
from tests.e2e.test_processes import running
from tests.fakes import MORNING
from tests.proxy import FaultProxy

#: Debian's script on PATH changes the user, and loses the environment by that; this is what it runs.
_PROGRAMS = sorted(Path("/usr/lib/rabbitmq/lib").glob("*/sbin/rabbitmq-server"))


#: Of the servers that run, by port: what commands to them need.
_ENVIRONMENT: dict[int, dict[str, str]] = {}


def _ctl(port: int, folder: Path, *words: str) -> None:
    """Have the server do something."""
    program = str(_PROGRAMS[-1].with_name("rabbitmqctl")) if _PROGRAMS else "rabbitmqctl"
    log = folder / "ctl.log"
    child = Child("rabbitmqctl", [program, *words], state=folder, log=log, env=_ENVIRONMENT[port])
    assert child.wait(60) == 0, log.read_text()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", port)):
            return False
        with suppress(OSError):  # it listens, and has not come to think of us
            # It hangs up on whoever does not speak its protocol, and names the one that it does.
            probe.sendall(b"HTTP/1.1")
            return probe.recv(4) == b"AMQP"
    return False


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server of our own, on loopback only."""
    program = str(_PROGRAMS[-1]) if _PROGRAMS else shutil.which("rabbitmq-server")
    if program is None:
        pytest.skip("there is no rabbitmq-server on PATH: `apt install rabbitmq-server`, or `brew install rabbitmq`")
    home, port, distribution, mapper = tmp_path_factory.mktemp("rabbit"), free_port(), free_port(), free_port()
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "RABBITMQ_NODENAME": "reelhook-tests@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper),
    }
    _ENVIRONMENT[port] = env
    child = Child("rabbitmq", [program], state=home, log=home / "out.log", env=env)
    try:
        assert wait_until(lambda: _answers(port), 120, pause=0.1), (home / "out.log").read_text()
        yield port
    finally:
        _ENVIRONMENT.pop(port, None)
        child.end(15)
        # The port mapper has a session of its own, and outlives the server.
        names = {"ERL_EPMD_PORT": str(mapper), "PATH": os.environ["PATH"]}
        Child("epmd", ["epmd", "-kill"], state=home, log=home / "epmd.log", env=names).wait(10)


def test_a_queue_of_rabbitmq_says_how_much_lies_in_it(rabbit: int, settings: Settings) -> None:
    """What nobody took is counted, also in a queue that was never there; a broker that is not there says nothing."""
    here, gone = (
        make_celery(settings.model_copy(update={"broker_url": f"amqp://guest:guest@127.0.0.1:{port}//"}))
        for port in (rabbit, 1)
    )
    try:
        queue = Queue(here)
        assert 0 == queue.waiting("submit")
        assert all(queue.send("nothing", "submit", ()) for _ in range(3))
        assert 3 == queue.waiting("submit")
        with here.connection_for_write() as connection:
            channel: Any = connection.default_channel
            channel.queue_purge("submit")
        assert 0 == queue.waiting("submit")
        assert Queue(gone).waiting("submit") is None
    finally:
        here.close()
        gone.close()


def _queue(rabbit: int, settings: Settings) -> tuple[Celery, Queue]:
    app = make_celery(settings.model_copy(update={"broker_url": f"amqp://guest:guest@127.0.0.1:{rabbit}//"}))
    return app, Queue(app)


def test_another_app_s_queue_is_as_it_made_it(rabbit: int, settings: Settings) -> None:
    """One that was declared as a quorum queue, or with priorities, takes what its app is told; one that was deleted is
    made again, so that nothing is dropped.
    """
    app, queue = _queue(rabbit, settings)
    kinds: dict[str, dict[str, object]] = {
        "quorum": {"x-queue-type": "quorum"},
        "urgent": {"x-max-priority": 9},
        "plain": {},
    }
    try:
        with app.connection_for_write() as connection:
            channel: Any = connection.default_channel
            for name, arguments in kinds.items():
                channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
            assert all(queue.send("nothing", name, (), "id") for name in kinds)
            channel.queue_delete("plain")
            assert queue.send("nothing", "plain", (), "id")
            seen = queue.look([*kinds, "nowhere"], [])
    finally:
        app.close()

    assert seen is not None
    assert {"quorum": 1, "urgent": 1, "plain": 1, "nowhere": None} == seen.waiting


def test_a_mark_is_found_as_long_as_the_broker_has_what_it_had(rabbit: int, settings: Settings) -> None:
    """The one that was left, among others that may have been; none in a broker that was never marked, or lost it: also
    where it is lost in the moment in which it would be made anew.
    """
    app, queue = _queue(rabbit, settings)
    try:
        looks = [queue.look([], ["a", "b"])]
        assert queue.mark("b", MORNING, there=False)
        looks.append(queue.look([], ["a", "b"]))
        with app.connection_for_write() as connection:
            channel: Any = connection.default_channel
            channel.queue_delete("reelhook.mark.b")
        queue.mark("b", MORNING, there=True)
        looks.append(queue.look([], ["a", "b"]))
    finally:
        app.close()

    assert [None, "b", None] == [look and look.mark for look in looks]


def test_a_rabbitmq_without_memory_holds_nobody(rabbit: int, settings: Settings, tmp_path: Path) -> None:
    """It blocks whoever sends, for as long as that lasts: then a message counts as not sent, soon, and a sweep sends it
    once there is memory again.
    """
    app, queue = _queue(rabbit, settings)
    try:
        assert queue.send("nothing", "memory", ())
        _ctl(rabbit, tmp_path, "set_vm_memory_high_watermark", "absolute", "1")
        assert wait_until(lambda: not queue.send("nothing", "memory", ()), 30)
        _ctl(rabbit, tmp_path, "set_vm_memory_high_watermark", "0.6")
        assert wait_until(lambda: queue.send("nothing", "memory", ()), 30)
    finally:
        app.close()


def test_the_main_job_goes_by_rabbitmq_and_over_its_silence(rabbit: int, tmp_path: Path) -> None:
    """P1, P4, P5: the same Procfile on RabbitMQ: jobs, a worker killed, a broker that falls silent and comes back."""
    with FaultProxy("127.0.0.1", rabbit) as between:
        url = f"amqp://guest:guest@127.0.0.1:{between.port}//"
        with running(tmp_path, CLOUDAMQP_URL=url, SWEEP_SECONDS="1") as up:
            jobs = [up.submit(prompt=f"cat {number}") for number in range(4)]
            up.kill("worker")
            for job_id in jobs:
                up.archived(job_id)
            between.blackhole()
            jobs += [up.submit(prompt=f"unheard cat {number}") for number in range(2)]
            between.heal()
            for job_id in jobs:
                up.archived(job_id)
            creates = up.emulator("GET", "state")["creates"]

    assert dict.fromkeys(jobs, 1) == {job_id: creates[job_id] for job_id in jobs}
