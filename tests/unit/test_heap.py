import platform
import resource
import subprocess
import sys

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
    ran = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", _TOUCHED.format(first=first)], capture_output=True, text=True, check=True
    )
    return int(ran.stdout)
