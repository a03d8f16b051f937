"""How far a file is on its way into the bucket, as a value: what a killed worker's successor goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Rest:
    """What came of a file after its last part: bytes that lie in an object of their own."""

    start: int  #: the byte of the file that it begins with
    size: int  #: bytes
    crc32: int
    validator: str | None = None  #: of the version of the source that it is of


@dataclass(frozen=True)
class Transfer:
    """One file under way. It is written before the first byte leaves and again after each part."""

    kind: str
    variant: str
    ordinal: int
    bucket: str
    key: str
    upload_id: str | None = None  #: of the multipart upload; None while, or because, the file goes in one piece
    validator: str | None = None  #: what names this version of the source; None where it can't be asked for from a byte
    length: int | None = None  #: bytes, as the source says
    etags: tuple[str, ...] = ()  #: of the parts that the bucket has, in order
    size: int = 0  #: bytes in those parts
    crc32: int = 0  #: of those bytes. Unlike a SHA-256, its state is a number that a row can hold
    walk: Mapping[str, Any] | None = None  #: where the walk over the boxes of an MP4 stands
    sha256: str | None = None  #: of the whole, where one worker saw all of it
    whole: bool = False  #: every byte is in the bucket; it may be that only the commit is missing
    rest: Rest | None = None  #: what lies beside those parts
    #: Bytes of the parts after those, in order, of which any may be on its way, however late: each ends there, or with
    #: the file. None where that is not known of the upload; without one, where it is to have short parts.
    intended: tuple[int, ...] | None = ()

    @property
    def place(self) -> tuple[str, str, int]:
        """Which of the job's outputs it is."""
        return self.kind, self.variant, self.ordinal

    @property
    def come(self) -> int:
        """Bytes of it that nobody has to fetch again."""
        return self.size + (self.rest.size if self.rest else 0)

    def afresh(self) -> Transfer:
        """The same file with nothing sent."""
        return Transfer(self.kind, self.variant, self.ordinal, self.bucket, self.key)

    def with_part(self, etag: str, *, size: int, crc32: int, walk: Mapping[str, Any] | None) -> Transfer:
        """After one more part."""
        intended = (self.intended or ())[1:]
        return replace(self, etags=(*self.etags, etag), size=size, crc32=crc32, walk=walk, rest=None, intended=intended)
