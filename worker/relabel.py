"""Gives a stored object new metadata, by having the store copy it onto itself: S3 knows no other way.

It is needed where a file's SHA-256 was known only after the file was sent, and metadata go before the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.log import logger
from infra.store_errors import StoreError
from worker.ports import Bucket

log = logger(__name__)

#: How a store says that it does not copy an object onto itself, or not for this key: it is not asked again.
_NO_COPYING = frozenset({"NotImplemented", "AccessDenied", "MethodNotAllowed", "InvalidRequest", "InvalidArgument"})
#: How it says that the object is not the one that was sent: then the caller looks at the object itself.
_ANOTHER = frozenset({"PreconditionFailed", "412", "NoSuchKey", "404"})
#: How often the copy of one file may fail before we do without: the file is proven, and its job waits for this.
_COPIES_TRIED = 3
_KEYS_KNOWN = 1000


@dataclass
class Relabeller:
    """Asks one bucket for such copies, and remembers when it refuses them altogether."""

    bucket: Bucket
    refusal: str = ""  #: why it is not asked any more
    _tried: dict[str, int] = field(default_factory=dict, repr=False)  #: copies that were put off, by key

    def asked_in_vain(self, key: str, etag: str, named: Mapping[str, Any]) -> bool:
        """Try to give the object `key` the metadata `named`. True: it will never have them, so don't try again.

        False: it has them now, or the object there is no longer the one with this `etag`; look at it to find out.
        Raises `StoreError` where trying later may help.
        """
        try:
            self.bucket.relabel(key, etag, **named)
        except StoreError as fault:
            if fault.code in _ANOTHER:  # it may have been copied, and nobody have heard of it
                return False
            if fault.passes and self._put_off(key):
                raise
            if fault.code in _NO_COPYING:
                self.refusal = str(fault)  # once is enough to know, and to tell
            log.warning("archive.not_relabelled", key=key, reason=str(fault))
            return True
        return False

    def _put_off(self, key: str) -> bool:
        """Whether the copy of an object may be tried once more, later."""
        self._tried[key] = tried = self._tried.pop(key, 0) + 1
        while len(self._tried) > _KEYS_KNOWN:
            self._tried.pop(next(iter(self._tried)))
        return tried < _COPIES_TRIED
