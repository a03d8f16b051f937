"""What came of a slow file after its last whole part, put into the bucket for the next slice to begin with.

A part has 5 MiB at least, and at 16 KiB a second that takes longer than any platform waits. So what there is of a part
when its slice is over lies in an object beside the file, and its row says so. It may be another object than the row
means, of a worker that was late: only the bytes whose CRC-32 the row names count.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from infra.log import logger
from infra.store_errors import StoreError
from worker import ports
from worker.jobs import keys
from worker.jobs.transfer import Rest, Transfer
from worker.source import Again

log = logger(__name__)

_MISSING = frozenset({"NoSuchKey", "NotFound", "404"})


@dataclass(frozen=True)
class Rests:
    """Those in one bucket."""

    bucket: ports.Bucket

    def put(self, at: Transfer, body: Again, label: dict[str, Any], save: Callable[[Transfer], None]) -> None:
        """Keep `body`, all that came after the last part, and have that written by `save`; unless so much lies there
        already. It is written first: who has lost the lease must leave nothing that nobody would clear away.
        """
        size, crc32 = _summed(iter(body.read, b""))
        if not size or (at.rest and at.rest.size >= size):
            return
        body.seek(0)
        said = {**label, "content_type": "application/octet-stream"}
        save(replace(at, rest=Rest(at.size, size, crc32)))
        self.bucket.put(keys.rest(at.key), body, size, **said)

    def get(self, at: Transfer) -> Iterable[bytes] | None:
        """What lies beside a file; None where that is not what its row means. It is read twice, as it is not held."""
        if at.rest is None:
            return ()
        try:
            found = _summed(self.bucket.chunks(keys.rest(at.key)))
        except StoreError as fault:
            if fault.code not in _MISSING and not fault.forbids:
                raise
            found = 0, 0
        if found != (at.rest.size, at.rest.crc32):
            log.warning("archive.rest_lost", key=at.key)
            return None
        return self.bucket.chunks(keys.rest(at.key))

    def drop(self, key: str) -> None:
        """Leave nothing beside the file under `key`, as far as that is allowed."""
        try:
            self.bucket.delete(keys.rest(key))
        except StoreError as fault:
            if not fault.forbids:
                raise
            log.warning("archive.rest_not_cleared", key=key, reason=str(fault))


def _summed(pieces: Iterator[bytes | memoryview]) -> tuple[int, int]:
    """How many bytes they are, and their CRC-32."""
    size, crc32 = 0, 0
    for piece in pieces:
        size, crc32 = size + len(piece), zlib.crc32(piece, crc32)
    return size, crc32
