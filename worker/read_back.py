"""The SHA-256 of a file that no one worker saw all of: read back from the bucket, once, and held to the CRC-32 of what
was sent.

It takes as long as it takes, however long a slice is, as its state can't be put in a row. But a worker that has to end
ends it: another one begins anew, and that costs the job nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic

from worker.jobs.transfer import Transfer
from worker.ports import Bucket
from worker.sent import SliceOver
from worker.source import NotStored, Progress


@dataclass(frozen=True)
class ReadBack:
    """What reading back needs. `ending`: whether this worker is to end."""

    bucket: Bucket
    ending: Callable[[], bool]

    def digest(self, sent: Transfer, progress: Progress, *, until: float) -> str:
        """The SHA-256 of the object that was `sent`. Raises `NotStored`, and `SliceOver` after `until`, in monotonic
        seconds, where this worker is to end.
        """
        digest, crc32, size = sha256(), 0, 0
        for chunk in self.bucket.chunks(sent.key):
            digest.update(chunk)
            crc32 = zlib.crc32(chunk, crc32)
            size += len(chunk)
            progress(size, sent.length)
            if monotonic() > until and self.ending():
                raise SliceOver
        if size != sent.length or (sent.whole and not sent.sha256 and crc32 != sent.crc32):
            raise NotStored("is not in the bucket as it was sent")
        return digest.hexdigest()
