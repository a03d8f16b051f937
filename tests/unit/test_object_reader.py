from __future__ import annotations

import pytest

from infra import object_reader
from infra.media import probe
from infra.object_reader import ObjectReader
from infra.store_errors import StoreError, named
from tests.unit.test_frames import film


@pytest.mark.parametrize("movflags", ["faststart", ""])
def test_a_store_that_fails_under_a_demuxer_is_heard_and_not_asked_again(
    movflags: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whichever read it is that fails. A demuxer reads on after a fault: each further one would wait for the store as
    long as the first did, and have a traceback printed.
    """
    body = film(movflags=movflags)
    monkeypatch.setattr(object_reader, "_BLOCK_BYTES", len(body) // 30)
    asked = 0

    def read(at: int, count: int, *, fails: int = 0) -> bytes:
        nonlocal asked
        asked += 1
        if fails and asked >= fails:
            raise StoreError(f"number {asked}")
        return body[at : at + count]

    def reader(fails: int) -> ObjectReader:
        return ObjectReader(lambda at, count: read(at, count, fails=fails), len(body), lambda _at, _count: b"")

    probe(reader(0))
    heard, reads = [], range(1, asked + 1)
    for fails in reads:
        asked = 0
        with pytest.raises(StoreError) as told:
            probe(reader(fails))
        heard.append((str(told.value), asked))

    assert [(f"number {number}", number) for number in reads] == heard
    assert "" == capfd.readouterr().err


def test_a_socket_s_own_fault_is_one_of_the_store() -> None:
    """Whatever of it the client library lets through: who asks may ask again, and nothing that is read ends by it."""
    with pytest.raises(StoreError, match="S3 read: OSError") as told, named("read"):
        raise OSError("cannot read from timed out object")

    assert told.value.passes
