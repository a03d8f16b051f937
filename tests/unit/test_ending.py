"""A worker that is to end, and the processes that it has forked off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_WORKER = """
import os
from types import SimpleNamespace
from infra import queue

queue._end_after = lambda seconds: None
reads, writes = os.pipe()
if os.fork() == 0:
    os.read(reads, 1)
    os._exit(queue.is_ending())
assert not queue.is_ending()
conf = SimpleNamespace(worker_soft_shutdown_timeout=9)
queue.EndInTime(None).stop(SimpleNamespace(exitcode=0, app=SimpleNamespace(conf=conf)))
os.write(writes, b"x")
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_the_processes_of_a_worker_know_that_it_is_to_end(root: Path) -> None:
    """Celery tells them nothing; they share one byte."""
    ran = subprocess.run([sys.executable, "-c", _WORKER], cwd=root, capture_output=True, text=True, check=True)  # noqa: S603 - a fixed command

    assert "1\n" == ran.stdout
