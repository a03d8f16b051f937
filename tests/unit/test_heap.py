import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

#: Four blocks of 3 MiB, as frames of a film are, three times over; prints the page faults of the last time.
_TOUCHED = """
import resource
from infra.heap import keep_freed
{first}
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(3 * 2**20) for _ in range(4)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
_PAGES = 4 * 3 * 2**20 // resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_of_one_film_serves_the_next() -> None:
    """Blocks that were freed are used again without a fault for each of their pages, which is not so untold."""
    assert (_faults("keep_freed()") < _PAGES / 10, _faults("") > _PAGES / 2) == (True, True)


def _faults(first: str) -> int:
    return _printed(_TOUCHED.format(first=first))


#: Many objects that know each other, and a child of which a collector looks at all that it may; prints its own pages
#: in KiB.
_FORKED = """
import gc, os, pathlib
from infra.heap import share
kept = [[number] for number in range(200_000)]
{first}
if os.fork() == 0:
    gc.collect()
    rollup = pathlib.Path("/proc/self/smaps_rollup").read_text()
    print(rollup.partition("Private_Dirty:")[2].split()[0])
else:
    os.wait()
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the kernel does not say whose pages are")
def test_what_was_there_before_a_fork_stays_shared() -> None:
    """A collector in a child writes into nothing that the parent had, and would into most of it untold."""
    assert (_own_kib("share()") < 4096, _own_kib("") > 8192) == (True, True)


def _own_kib(first: str) -> int:
    return _printed(_FORKED.format(first=first))


def _printed(code: str) -> int:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own
    return int(ran.stdout)
