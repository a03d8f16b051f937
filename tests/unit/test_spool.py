from __future__ import annotations

import os
import resource
import tempfile
from io import SEEK_END
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.spool import DiskFault, spool


@given(pieces=st.lists(st.binary(max_size=200_000), max_size=6), at=st.integers(0, 900_000), count=st.integers(0, 900))
def test_what_was_laid_down_is_there(pieces: list[bytes], at: int, count: int) -> None:
    """Any of it can be read, and all of it sent, again and again."""
    whole = b"".join(pieces)
    laid = spool(max(len(whole), 1))
    assert laid is not None
    for piece in pieces:
        laid.add(piece)

    assert whole[at : at + count] == laid.read(at, count)
    body = laid.body()
    for _ in range(2):
        assert 0 == body.seek(0)
        assert whole == b"".join(iter(body.read, b""))
    assert len(whole) == body.tell() == body.seek(0, SEEK_END)


def test_nothing_of_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P7: it has no name, and is closed when nobody holds it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    laid = spool(10)
    assert laid is not None
    number = laid._file

    assert [] == list(tmp_path.iterdir())
    os.fstat(number)
    del laid
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_where_there_is_no_room_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a byte came: the file can still go another way."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not-there"))

    assert None is spool(10)


def test_a_disk_that_fails_says_nothing_against_the_file() -> None:
    """P7: no room is left after all, or it can't be read: that is told from bytes that do not hold."""
    laid = spool(10)
    assert laid is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        laid.add(b"0123456789")
        with pytest.raises(DiskFault, match="File too large"):
            laid.add(b"x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert b"0123456789" == b"".join(iter(laid.body().read, b""))
