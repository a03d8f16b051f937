"""What came of a slow file after its last whole part, put into the bucket for the next slice to begin with.

A part has 5 MiB at least, and at 16 KiB a second that takes longer than any platform waits. So what there is of a part
when its slice is over lies in an object beside the file, and its row says so. It may be another object than the row
means, of a worker that was late: only the bytes whose CRC-32 the row names count.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from infra.log import logger
from infra.store_errors import StoreError
from worker import ports
from worker.jobs import keys
from worker.jobs.transfer import Rest, Transfer
from worker.sent import Label, Ledger
from worker.source import Again, LeaseLost, Reported, Source, SourceChanged, said_of

log = logger(__name__)

_MISSING = frozenset({"NoSuchKey", "NotFound", "404"})


@dataclass(frozen=True)
class Rests:
    """Those in one bucket."""

    bucket: ports.Bucket

    def put_of(self, source: Source, at: Transfer, body: Again, label: Label, ledger: Ledger) -> None:
        """Keep `body`, all that came of `source` after the last part. Raises `LeaseLost`."""
        told = Reported(body, source.report)
        with said_of(told):
            self.put(at, told, label(None), ledger.save)

    def put(self, at: Transfer, body: Again, label: dict[str, Any], save: Callable[[Transfer], None]) -> None:
        """Keep `body`, all that came after the last part, and have that written by `save`; unless so much lies there
        already. It is written first: who has lost the lease must leave nothing that nobody would clear away.
        """
        size, crc32 = max(_sums(iter(body.read, b"")), default=(0, 0))
        if not size or (at.rest and at.rest.size >= size):
            return
        body.seek(0)
        said = {**label, "content_type": "application/octet-stream"}
        at = replace(at, rest=Rest(at.size, size, crc32, at.validator))
        save(at)
        etag = self.bucket.put(keys.rest(at.key), body, size, **said)
        try:
            save(at)
        except LeaseLost:  # it arrived late: whoever has the job now may have archived the file, and looks no more
            self._take_away(keys.rest(at.key), etag)
            raise

    def _take_away(self, key: str, etag: str) -> None:
        """What lies under `key`, if nobody has put something else there since."""
        with suppress(StoreError):
            stored = self.bucket.seen(key)
            if stored is not None and stored.etag == etag:
                self.bucket.delete(key)

    def get(self, at: Transfer) -> Iterable[bytes] | None:
        """What lies beside a file; None where that is not what its row means. It is read twice, as it is not held, and
        raises `SourceChanged` where it has become another one in between.
        """
        if at.rest is None:
            return ()
        sums: list[tuple[int, int]] = [(0, 0)]
        try:
            sums += _sums(self.bucket.chunks(keys.rest(at.key)))
        except StoreError as fault:
            if fault.code not in _MISSING and not fault.forbids:
                raise
        if sums[-1] != (at.rest.size, at.rest.crc32):
            log.warning("archive.rest_lost", key=at.key)
            return None
        return self._same(keys.rest(at.key), dict(sums), at.rest.size)

    def _same(self, key: str, sums: Mapping[int, int], whole: int) -> Iterator[bytes]:
        """What lies under `key`. No piece is handed out that is not as it was, if they are cut as they were."""
        size, crc32 = 0, 0
        for piece in self.bucket.chunks(key):
            size, crc32 = size + len(piece), zlib.crc32(piece, crc32)
            if size > whole or sums.get(size, crc32) != crc32:
                raise SourceChanged("what came of it before was written over")
            yield piece
        if size != whole:
            raise SourceChanged("what came of it before was cut off")

    def drop(self, key: str) -> None:
        """Leave nothing beside the file under `key`, as far as that is allowed."""
        try:
            self.bucket.delete(keys.rest(key))
        except StoreError as fault:
            if not fault.forbids:
                raise
            log.warning("archive.rest_not_cleared", key=key, reason=str(fault))


def _sums(pieces: Iterator[bytes | memoryview]) -> Iterator[tuple[int, int]]:
    """After each piece, how many bytes they are so far, and their CRC-32."""
    size, crc32 = 0, 0
    for piece in pieces:
        size, crc32 = size + len(piece), zlib.crc32(piece, crc32)
        yield size, crc32
