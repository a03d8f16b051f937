import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from infra.room import room

#: Another process that has something large, until it is killed.
_OTHER = """
import time
from infra.room import room
with room() as claim:
    claim(large=True)
    print("has it", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else on this machine has a part in it, and who waits says so soon."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr("infra.room._WAIT_SECONDS", 0.01)


@contextmanager
def _other() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", _OTHER], stdout=subprocess.PIPE, text=True) as other:  # noqa: S603 - our own
        assert other.stdout is not None
        assert other.stdout.readline() == "has it\n"
        try:
            yield other
        finally:
            with suppress(ProcessLookupError):
                other.kill()


def _claimed(alive: Event) -> bool:
    with room(alive.set) as claim:
        claim(large=True)
        return True


def test_another_process_is_waited_for_and_a_killed_one_is_not() -> None:
    """Who waits says that it lives; the room of one that was killed is free at once."""
    waits = Event()
    with _other() as other, ThreadPoolExecutor(1) as thread:
        claimed = thread.submit(_claimed, waits)
        assert waits.wait(100)
        assert False is claimed.done()
        os.kill(other.pid, signal.SIGKILL)

        assert True is claimed.result(100)


def test_a_wait_ends_with_what_the_lease_says() -> None:
    """Whoever lost its job while it waited has nothing to wait for, and the room is the next one's."""

    def lost() -> None:
        raise LookupError

    with _other(), pytest.raises(LookupError), room(lost) as claim:
        claim(large=True)

    assert True is _claimed(Event())


def test_who_hangs_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that never comes back from a decoder keeps only itself from its work, and so does a thread."""
    monkeypatch.setattr("infra.room._LONGEST_SECONDS", 0.2)
    looks = count()  # at the clock: who is kept from looking at it has not waited for longer
    clock = SimpleNamespace(monotonic=lambda: next(looks) / 10, time=time.time, sleep=time.sleep)
    monkeypatch.setattr("infra.room.time", clock)
    waits = Event()
    with _other():
        assert True is _claimed(waits)
    assert True is waits.is_set()
    hangs, waits = Event(), Event()

    def hang() -> bool:
        with room() as claim:
            claim(large=True)
            waits.set()
            return hangs.wait(100)

    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(hang)
        assert waits.wait(100)
        assert True is threads.submit(_claimed, Event()).result(100)
        hangs.set()
        assert True is other.result(100)


def test_what_is_small_waits_for_nobody() -> None:
    """Nor does it ask."""
    with _other(), room(lambda: pytest.fail("waited")) as claim:
        claim(large=False)


def test_a_file_of_somebody_else_is_not_waited_for(tmp_path: Path) -> None:
    """What others may lay there, a link or a folder, neither blocks anybody nor is it opened."""
    target = tmp_path / "target"
    (tmp_path / f"reelhook-{os.getuid()}.room").symlink_to(target)

    assert (True, False) == (_claimed(Event()), target.exists())


def test_a_machine_where_nothing_can_be_written_decodes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes can't agree then. That says nothing against the file, and must not look as if it did."""
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "nowhere")])

    assert True is _claimed(Event())
