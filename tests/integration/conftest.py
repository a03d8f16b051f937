"""What most tests here stand on, in its plainest form; a file that wants another makes its own of the same name."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.endpoint
import pytest
from sqlalchemy import Engine

from infra import s3_wire
from infra.emulator import Emulator
from infra.settings import Settings
from infra.stack.servers import Servers
from tests.conftest import environment_for
from tests.house import House, house
from tests.integration.archive_kit import PART, Yard, film, placed
from tests.integration.emulator_kit import Client, Neighbour, client_of, fast_emulator, neighbour_of
from tests.integration.stores_kit import other_store
from tests.origin import File, Origin
from tests.receiver import Receiver, receiver
from tests.s3_gate import Gate
from worker import parts, source
from worker.tasks import book


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """A Kling whose minutes are moments."""
    with fast_emulator() as running:
        yield running


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator) -> Iterator[House]:
    """A house with an account at the emulator."""
    with house(servers.addresses, engine, emulator, KLING_PACE="0.001") as opened:
        yield opened


@pytest.fixture
def app() -> Iterator[Receiver]:
    """A caller's app."""
    with receiver() as listening:
        yield listening


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Client]:
    """A client of the emulator itself."""
    with client_of(emulator) as one:
        yield one


@pytest.fixture
def neighbour() -> Iterator[Neighbour]:
    """A fresh neighbour of the emulator."""
    with neighbour_of(Neighbour()) as beside:
        yield beside


@pytest.fixture(scope="module")
def mortal(root: Path) -> Iterator[Callable[[dict[str, Any]], int]]:
    """Has a worker process do an order; returns the signal that ended it, 0 where it lived."""
    command = [sys.executable, "-m", "tests.integration.mortal"]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:  # noqa: S603 - a fixed command
        assert parent.stdin is not None
        assert parent.stdout is not None
        stdin, stdout = parent.stdin, parent.stdout

        def order(what: dict[str, Any]) -> int:
            stdin.write(json.dumps(what) + "\n")
            stdin.flush()
            return int(stdout.readline())

        yield order
        stdin.close()


@pytest.fixture
def command(servers: Servers, root: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts `reelhook WORDS` as a process, with settings on the embedded servers but for those given."""
    given = environment_for(servers.addresses)

    def start(*words: str, **changes: str) -> subprocess.Popen[str]:
        line, said = [sys.executable, "-m", "webhook.cli", *words], subprocess.PIPE
        return subprocess.Popen(line, cwd=root, env=given | changes, stdout=said, stderr=subprocess.STDOUT, text=True)  # noqa: S603 - our own words

    return start


@pytest.fixture
def gate(settings: Settings) -> Iterator[Gate]:
    """The embedded store behind a proxy that refuses what it is told to."""
    with Gate(settings.s3_endpoint_url or "") as opened:
        yield opened


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens, nor will: who looks for a free port gets another one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="module")
def moto(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings on a store that knows lifecycle rules, which the embedded one does not."""
    with other_store("moto", settings, tmp_path_factory.mktemp("moto")) as other:
        yield other


@pytest.fixture
def made(settings: Settings, engine: Engine) -> Iterator[Yard]:
    """A job of one film, archived."""
    with placed(settings, engine, File.of(film())) as (yarded, _):
        yarded.work()
        yield yarded


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts as small as S3 allows, so that a small film has several, none of it laid down first."""
    monkeypatch.setattr(parts, "PART_BYTES", PART)
    monkeypatch.setattr(parts, "LONGEST_PART", PART)
    monkeypatch.setattr(source, "SPOOLED_BYTES", 0)
    monkeypatch.setattr(parts, "LINGER", 60)  # a machine that is busy is no slow source


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of the bucket asks again at once, and a worker that stands still does so with all its threads."""
    for client in (botocore.endpoint, s3_wire):
        monkeypatch.setattr(client, "time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(book, "_WAITING_SECONDS", 3600)


@pytest.fixture
def place(settings: Settings, engine: Engine) -> Callable[..., AbstractContextManager[tuple[Yard, Origin]]]:
    """Makes a yard with a job of one film, served as the test says."""
    return partial(placed, settings, engine)
