"""What Reelhook needs of its bucket, tried there one by one, and what came of each in words."""

from __future__ import annotations

import re
import ssl
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import Any

from infra.http import Answer, Http, HttpError
from infra.object_store import ObjectStore
from infra.settings import Settings
from infra.store_errors import StoreError, Taken, clock_of
from webhook import lifecycle
from webhook.store_words import clocks, words_for
from worker.services import now
from worker.spool import SPOOLED_BYTES

_WHOLE = SPOOLED_BYTES // 2**20  #: MiB
#: What AWS calls the permissions that each thing needs.
_NEEDS = MappingProxyType(
    {
        "write": "s3:PutObject",
        "read": "s3:GetObject",
        "clock": "s3:GetObject",
        "create only": "s3:PutObject",
        "copy onto itself": "s3:GetObject, s3:PutObject",
        "write in parts": "s3:PutObject",
        "presigned link": "s3:GetObject",
        "end an upload": "s3:AbortMultipartUpload",
        "list": "s3:ListBucket",
        "list uploads": "s3:ListBucketMultipartUploads",
        "delete": "s3:DeleteObject",
        "lifecycle rule": "s3:GetLifecycleConfiguration",
        "versions": "s3:GetBucketVersioning",
    }
)
#: What does not work while one of these does not.
_BREAKS = MappingProxyType(
    {
        "write": "nothing can be stored",
        "read": "nothing can be proven, so no job ends as archived",
        "create only": "files can't be stored",
        "write in parts": f"files above {_WHOLE} MiB, and those that come slowly or say no length, can't be stored",
        "presigned link": "files are archived, but links to them don't open",
    }
)
#: Without one of these files are archived, proven and linked to all the same; what is missing then.
_SPARED = MappingProxyType(
    {
        "clock": "archiving works; from 15 minutes on stores refuse everything, and links open later or die sooner",
        "create only": "archiving works; a worker that stood still past its lease could write over what another stored",
        "copy onto itself": f"archiving works; larger files than {_WHOLE} MiB, or slow ones, won't name their SHA-256",
        "private": "whoever guesses a key reads the file: take public access from the bucket if that is not meant",
        "end an upload": "archiving works; parts of files that are given up stay until a lifecycle rule ends them",
        "list": "archiving works; the store can't say of an object that it is not there, so that counts as not known",
        "list uploads": "archiving works; uploads that a killed worker began stay until a lifecycle rule ends them",
        "delete": "archiving works; what came and did not hold stays in the bucket",
    }
)
_KEPT = (
    "the bucket keeps what is deleted or written over, and it is paid for: a lifecycle rule with "
    "NoncurrentVersionExpiration ends that; S3_RELABEL_BYTES=0 spares a second version of what came in parts"
)
_ELSEWHERE = (
    "S3_PUBLIC_ENDPOINT_URL leads to what is not the store, or does not hand the name of its own host on to it, as "
    "CDNs don't: links are signed for that name"
)
_VERSIONS = "s3:ListBucketVersions, s3:DeleteObjectVersion"
_CODE = re.compile(rb"<Code>([A-Za-z0-9]+)</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{1,200})</Message>")
_READING = frozenset({"head", "read"})  #: whatever it is done for
_SUCCESS = frozenset({200, 206})
_PART = 5 * 2**20
_BODY = b"reelhook doctor"


@dataclass(frozen=True)
class Finding:
    """What came of one thing that was tried. `good` is None where it is only worth knowing."""

    tried: str
    good: bool | None
    words: str


class _Reader:
    """Opens links as anybody does: by the usual authorities, then by those that are believed of the store alone."""

    def __init__(self, settings: Settings) -> None:
        self._usual = Http(authorities=settings.ca_bundle)
        self._own = Http(authorities=settings.s3_ca_bundle) if settings.s3_ca_bundle else None
        self.needs_own = False  #: whether nobody else vouches for the host
        self.answered = False

    def first_byte(self, link: str) -> Answer:
        """The answer to a question for the first byte; of a body that is longer, its beginning."""
        try:
            return self._ask(self._usual, link)
        except HttpError as fault:
            if self._own is None or not isinstance(fault.__cause__, ssl.SSLCertVerificationError):
                raise
            answer = self._ask(self._own, link)
        self.needs_own = True
        return answer

    def _ask(self, http: Http, link: str) -> Answer:
        answer = http.send("GET", link, {"Range": "bytes=0-0"}, None, seconds=20, limit=2**16, cut=True)
        self.answered = True
        return answer


class _Examination:
    """Each method tries one thing with an object of our own; what is wrong, or None. Raises what it met."""

    def __init__(self, prefix: str, store: ObjectStore, settings: Settings) -> None:
        self.store = store
        self.reader = _Reader(settings)
        self.settings = settings
        self._begins = _BODY[:1]  #: what is stored now
        self.key = f"{prefix}reelhook-doctor-{uuid.uuid4().hex}"
        self._label: dict[str, Any] = {
            "content_type": "text/plain",
            "filename": "doctor.txt",
            "metadata": {"reelhook": "doctor"},
        }

    def write(self) -> str | None:
        self.store.put(self.key, _BODY, **self._label)
        return None

    def read(self) -> str | None:
        stored = self.store.head(self.key)
        if stored is None or stored.size != len(_BODY):
            return "what was written is not there"
        if stored.metadata.get("reelhook") != "doctor":
            return "the store loses metadata: an object that was stored before a crash can't be recognised"
        ranged = self.store.read(self.key, 9, 6)
        return None if ranged == b"doctor" else "the store ignores Range, so files can't be proven"

    def clock(self) -> str | None:
        theirs = self.store.clock(self.key)
        return clocks(now(), theirs)  # in this order: it may have been asked several times, a minute each

    def create(self) -> str | None:
        try:
            self.store.put_stream(self.key, BytesIO(_BODY), len(_BODY), **self._label)
        except Taken:
            return None
        return "the store does not know, or heed, If-None-Match"

    def relabel(self) -> str | None:
        stored = self.store.head(self.key)
        if stored is None:
            return "what was written is not there"
        named = {**self._label, "metadata": {"reelhook": "doctor", "reelhook-again": "yes"}}
        self.store.relabel(self.key, stored.etag, **named)
        anew = self.store.head(self.key)
        return None if anew and "reelhook-again" in anew.metadata else "a copy keeps its old metadata"

    def parts(self) -> str | None:
        upload = self.store.begin(self.key, **self._label)
        sizes = enumerate((_PART, 1), start=1)
        try:
            etags = [self.store.put_part(self.key, upload, n, BytesIO(bytes(size)), size) for n, size in sizes]
            self.store.complete(self.key, upload, etags)
            self._begins = bytes(1)
        except StoreError:
            with suppress(StoreError):  # the first refusal is the one to tell
                self.store.abort(self.key, upload)
            raise
        stored = self.store.head(self.key)
        return None if stored and stored.size == _PART + 1 else "an object that came in parts is not whole"

    def presign(self) -> str | None:
        answer = self.reader.first_byte(self.store.presign(self.key, seconds=self.settings.s3_link_seconds))
        if answer.status in _SUCCESS:
            return None if self._is_ours(answer) else f"another thing is there: {_ELSEWHERE}"
        code, said = _CODE.search(answer.body), _MESSAGE.search(answer.body)
        if self.settings.s3_public_endpoint_url and code and code[1] == b"SignatureDoesNotMatch":
            return f"{_ELSEWHERE} (HTTP {answer.status}, SignatureDoesNotMatch)"
        words = said[1].decode(errors="replace") if said else ""
        refusal = StoreError(f"a presigned link answers HTTP {answer.status} {words}".rstrip())
        refusal.code = code[1].decode() if code else str(answer.status)
        refusal.at = clock_of(answer.headers)
        raise refusal

    def private(self) -> str | None:
        bare = self.store.presign(self.key, seconds=60).partition("?")[0]
        answer = self.reader.first_byte(bare)
        opens = answer.status in _SUCCESS and self._is_ours(answer)
        return f"{bare} opens without a signature" if opens else None

    def _is_ours(self, answer: Answer) -> bool:
        return answer.body[:1] == self._begins

    def end_upload(self) -> str | None:
        upload = self.store.begin(self.key, **self._label)
        self.store.abort(self.key, upload)
        return None

    def list_uploads(self) -> str | None:
        self.store.pending(self.key)
        return None

    def listing(self) -> str | None:
        return None if self.store.keys(self.key) == [self.key] else "the list does not show what is there"

    def delete(self) -> str | None:
        self.store.delete(self.key)
        return None if self.store.seen(self.key) is None else "what was deleted is still there"

    def tidy(self) -> None:
        """Leave nothing behind of an examination that was broken off, as far as that can be."""
        for ends in (self.store.end_uploads, self.store.delete, self.store.delete_versions):
            with suppress(StoreError):
                ends(self.key)


def examine(settings: Settings, bucket: str = "", prefixes: Sequence[str] = ()) -> Iterator[Finding]:
    """Try the bucket of `settings`, or another one of its store. Where writing fails, nothing else is tried.

    `prefixes`: of the keys of ours that it holds, the first of which is tried; the template's if none are named.
    """
    places = prefixes or [lifecycle.prefix_of(settings)]
    on = _Examination(places[0], ObjectStore(settings).of(bucket), settings)
    try:
        yield from _tried(on, places)
    except (KeyboardInterrupt, SystemExit):  # the latter of other signals, by whoever asks
        on.tidy()
        raise
    if settings.s3_session_token:
        yield Finding(
            "key", good=None, words="S3_SESSION_TOKEN: it is lent; all that it may, and its links, ends with it"
        )


def _tried(on: _Examination, places: Sequence[str]) -> Iterator[Finding]:
    first = _try("write", on.write)
    yield first
    if not first.good:
        return
    yield (read := _try("read", on.read))
    if read.good:
        yield _try("clock", on.clock)
    yield _try("create only", on.create)
    yield _try("copy onto itself", on.relabel)
    yield _try("write in parts", on.parts)
    yield _try("presigned link", on.presign)
    if on.reader.needs_own:
        words = "links open for those only who believe the authorities that AWS_CA_BUNDLE names"
        yield Finding("certificate", good=None, words=words)
    if on.reader.answered:
        yield _try("private", on.private)
    yield _try("end an upload", on.end_upload)
    yield _try("list", on.listing)
    yield _try("list uploads", on.list_uploads)
    yield (deleted := _try("delete", on.delete))
    yield from _kept(on, places, deleted=bool(deleted.good))


def _try(name: str, step: Callable[[], str | None]) -> Finding:
    """What is in both tables breaks something if it is refused, and is spared if it is only done otherwise."""
    try:
        if not (fault := step()):
            return Finding(name, good=True, words="")
        breaks = name not in _SPARED
    except StoreError as refused:
        needs = _NEEDS["read" if refused.operation in _READING else name]
        fault, breaks = words_for(refused, needs, now()), name in _BREAKS
    except HttpError as refused:
        fault, breaks = f"the link's host can't be reached: {refused}", name in _BREAKS
    missing = (_BREAKS if breaks else _SPARED)[name]
    return Finding(name, good=False if breaks else None, words=f"{missing}: {fault}")


def _kept(on: _Examination, prefixes: Sequence[str], *, deleted: bool) -> Iterator[Finding]:
    """What stays in the bucket that nobody sees: unfinished uploads, and versions that were deleted or written over."""
    rules: Sequence[lifecycle.Rule] = ()
    try:
        rules = on.store.lifecycle()
        bare = lifecycle.missing(rules, prefixes)
        words = f"none ends unfinished uploads below {', '.join(one or '/' for one in bare)}"
        sets = f"`{lifecycle.command(on.store.bucket, on.settings)}` sets one, where the store takes such rules"
        fault = f"{words}; {sets}" if bare else ""
    except StoreError as refused:
        fault = f"can't be read: {words_for(refused, _NEEDS['lifecycle rule'], now())}"
    yield Finding("lifecycle rule", good=None if fault else True, words=fault)
    keeps = False
    try:
        keeps = on.store.keeps_versions()
        stay = lifecycle.keeping(rules, prefixes) if keeps else ()
        fault = f"{_KEPT} ({', '.join(one or '/' for one in stay)})" if stay else ""
    except StoreError as refused:
        fault = f"can't be read: {words_for(refused, _NEEDS['versions'], now())}"
    yield Finding("versions", good=None if fault else True, words=fault)
    if left := _left(on, keeps=keeps, deleted=deleted):
        yield Finding("left behind", good=None, words=left)


def _left(on: _Examination, *, keeps: bool, deleted: bool) -> str:
    """What is left of this examination, after its versions were removed where that can be; empty for nothing."""
    try:
        on.store.delete_versions(on.key)
        if on.store.seen(on.key) is None:
            return ""
    except StoreError as refused:
        if keeps and deleted:
            why = words_for(refused, _VERSIONS, now())
            return f"versions of this examination's object {on.key}: a lifecycle rule ends them; {why}"
    return "" if deleted else f"this examination's object {on.key}: remove it by hand"
