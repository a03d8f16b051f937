"""RabbitMQ in Redis's place, by CLOUDAMQP_URL alone: Debian's server where it is on PATH."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.queue import Queue, make_celery
from infra.settings import Settings
from infra.stack.kept import free_port
from infra.stack.process import Child, wait_until
from tests.e2e.test_processes import running
from tests.proxy import FaultProxy

#: Debian's script on PATH changes the user, and loses the environment by that; this is what it runs.
_PROGRAMS = sorted(Path("/usr/lib/rabbitmq/lib").glob("*/sbin/rabbitmq-server"))


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", port)):
            return False
        # It hangs up on whoever does not speak its protocol, and names the one that it does.
        probe.sendall(b"HTTP/1.1")
        return probe.recv(4) == b"AMQP"


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
    child = Child("rabbitmq", [program], state=home, log=home / "out.log", env=env)
    try:
        assert wait_until(lambda: _answers(port), 60, pause=0.1), (home / "out.log").read_text()
        yield port
    finally:
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
