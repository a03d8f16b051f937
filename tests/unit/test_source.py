"""What a server's answer says of the file that is fetched from it."""

from __future__ import annotations

from hashlib import sha256

import pytest
from urllib3 import HTTPHeaderDict

from infra.http import Stream
from worker.jobs.transfer import Transfer
from worker.source import NotHad, Source, SourceChanged

BEGUN = Transfer("video", "original", 0, "bucket", "key")


def source(status: int, headers: dict[str, str], body: bytes = b"", come: int = 0) -> Source:
    """The file of an answer, of which `come` bytes had come before."""
    at = BEGUN if not come else BEGUN.with_part("e", size=come, crc32=0, walk=None)
    stream = Stream(status, HTTPHeaderDict(headers), iter([body]), lambda: None)
    return Source(stream, at, largest=10**6, walked=False, digest=sha256(), progress=lambda *_: None)


def test_a_server_may_call_all_of_a_file_a_part() -> None:
    """206 to who asked for no part is the file, if it begins with its first byte; it may be gone on with."""
    whole = source(206, {"Content-Range": "bytes 0-4/5", "ETag": '"1"'}, b"01234")

    assert (0, 5, False, True, '"1"') == (whole.size, whole.length, whole.resumed, whole.resumable, whole.validator)
    assert b"01234" == whole.next(9)
    assert whole.ended


@pytest.mark.parametrize("said", ["bytes 1-4/5", "bytes */5", "bytes 0-4/*", ""])
def test_a_part_that_nobody_asked_for_is_no_file(said: str) -> None:
    """It says nothing against the file: it is asked for again for as long as the provider has it."""
    with pytest.raises(NotHad, match="a part that nobody asked for"):
        source(206, {"Content-Range": said})


def test_a_range_is_refused_of_whom_it_was_asked_for() -> None:
    """416 means a shorter file than the one that was begun, where one was; else it is a refusal as any other."""
    with pytest.raises(SourceChanged):
        source(416, {}, come=3)
    with pytest.raises(NotHad, match="HTTP 416"):
        source(416, {})
