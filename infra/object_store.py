"""An S3-compatible bucket: whole objects, multipart uploads, ranges, presigned links."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from infra.log import logger
from infra.object_reader import ObjectReader
from infra.s3_client import credentials, make_client
from infra.s3_wire import Links, Request, Wire
from infra.settings import Settings
from infra.store_errors import StoreError, Taken, UploadGone, clock_of, named
from infra.stores import dialect

log = logger(__name__)

_BLOCK_BYTES = 2**20
_METADATA = "x-amz-meta-"
_HEADERS = {
    "ContentType": "Content-Type",
    "ContentDisposition": "Content-Disposition",
    "CacheControl": "Cache-Control",
    "StorageClass": "x-amz-storage-class",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
}
#: Stored only where nothing is: who was held up while another took his work over must not write over what that one has.
_CREATE = {"If-None-Match": "*"}
#: How a store says that something is there.
_THERE = frozenset({"412", "PreconditionFailed"})
#: How it may say that it has no such condition; the same without it tells whether that was it.
_NO_CONDITION = frozenset({"400", "501", "InvalidArgument", "InvalidRequest", "NotImplemented"})
#: What a store copies within a second or so.
_RELABEL_BYTES = 64 * 2**20


class Body(Protocol):
    """Bytes on their way: sent as they come, read once."""

    def read(self, size: int = -1, /) -> bytes | memoryview:
        """The next bytes; none at the end."""


@dataclass(frozen=True)
class Stored:
    """What the store says of an object."""

    size: int
    etag: str
    content_type: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Pending:
    """A multipart upload that was begun and not ended."""

    key: str
    upload_id: str
    begun_at: datetime


def _nothing(_at: int, _count: int) -> bytes:
    return b""


class ObjectStore:
    """One bucket of a store. May be made before a fork, if it is asked nothing there; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self.bucket = settings.s3_bucket
        self._client = make_client(settings, settings.s3_endpoint_url)
        self._wire = Wire(self._client, credentials(settings))
        public = settings.s3_public_endpoint_url
        signer = make_client(settings, public) if public else self._client
        self._links = Links(signer, credentials(settings))
        self._options = _options(settings)
        self._create = dict(_CREATE)  #: shared with its other buckets; emptied once the store is known not to have it
        self.relabel_bytes = _relabel_bytes(settings)  #: of the largest object that `relabel` is meant for
        #: Whether all parts of an upload but the last must have one length.
        self.equal_parts = dialect(settings.s3_endpoint_url).equal_parts

    def of(self, bucket: str) -> ObjectStore:
        """Another bucket of the same store, by the same connections; this one where it is its name, or none is said."""
        if bucket in ("", self.bucket):
            return self
        other = copy(self)
        other.bucket = bucket
        return other

    # --- whole objects ------------------------------------------------------------------------------------------
    def put(
        self,
        key: str,
        body: bytes | Body,
        length: int | None = None,
        *,
        content_type: str,
        filename: str,
        metadata: Mapping[str, str],
    ) -> str:
        """Store a small object whole, in place of what is there; its ETag. `length`: of a body that has none itself.
        `filename`: what a browser calls it when it is saved.
        """
        headers = _headers(self._label(content_type, filename, metadata))
        count = len(body) if isinstance(body, bytes) else length or 0
        with named("put"):
            return self._sent(Request("PutObject", "PUT", key, headers, body=body, length=count))

    def put_stream(
        self, key: str, body: Body, length: int, *, content_type: str, filename: str, metadata: Mapping[str, str]
    ) -> str:
        """Store a new object of `length` bytes while they come; its ETag. It appears with the last one, or not at all.

        Raises `Taken` if there is one under that key already, where the store can tell.
        """
        headers = _headers(self._label(content_type, filename, metadata))
        request = Request("PutObject", "PUT", key, {**headers, **self._create}, body=body, length=length)
        try:
            with named("put"):
                return self._sent(request)
        except StoreError as fault:
            if fault.code in _THERE:
                raise Taken(str(fault)) from fault
            if fault.code not in _NO_CONDITION or not self._create:
                raise
            if request.once:
                self._create.clear()  # what passes by is gone: the next attempt will tell
                again = StoreError(f"{fault}; it is tried again without a condition")
                again.code = "OperationAborted"
                raise again from fault
        with named("put"):
            etag = self._sent(replace(request, headers=headers))
        self._create.clear()
        return etag

    def relabel(self, key: str, etag: str, *, content_type: str, filename: str, metadata: Mapping[str, str]) -> None:
        """Have the store copy an object of at most 5 GiB onto itself with another label, if it still has this ETag.

        Nobody sees a state between. Its ETag may be another one then.
        """
        what: dict[str, Any] = self._label(content_type, filename, metadata)
        source: Any = {"Bucket": self.bucket, "Key": key}
        with named("copy"):
            self._client.copy_object(
                Bucket=self.bucket,
                Key=key,
                CopySource=source,
                CopySourceIfMatch=etag,
                MetadataDirective="REPLACE",
                **what,
            )

    def head(self, key: str) -> Stored | None:
        """What is stored under `key`; None when nothing is."""
        try:
            with named("head"):
                headers = self._wire.ask(self.bucket, Request("HeadObject", "HEAD", key)).headers
        except StoreError as fault:
            if fault.code in {"404", "NoSuchKey", "NotFound"}:
                return None
            raise
        # Names of headers have no case, and some stores make use of that.
        said = {name.lower(): value for name, value in headers.items()}
        start = len(_METADATA)
        metadata = {name[start:]: value for name, value in said.items() if name.startswith(_METADATA)}
        size, etag = (_said(said, name, "head") for name in ("content-length", "etag"))
        return Stored(int(size), etag, said.get("content-type", ""), metadata)

    def seen(self, key: str) -> Stored | None:
        """As `head`, but None also where the store won't say: who may not list hears 403 of what is not there."""
        try:
            return self.head(key)
        except StoreError as fault:
            if fault.code == "403":
                return None
            raise

    def clock(self, key: str) -> datetime | None:
        """What time it is at the store, by its answer about an object that is there; None where it does not say."""
        with named("head"):
            return clock_of(self._wire.ask(self.bucket, Request("HeadObject", "HEAD", key)).headers)

    def read(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes of an object from byte `start`; fewer at its end."""
        with named("read"):
            answer = self._client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={start}-{start + length - 1}")
            with contextlib.closing(answer["Body"]) as body:
                if not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
                    raise StoreError("S3 read: the store ignores Range and sends other bytes than were asked for")
                return body.read()

    def chunks(self, key: str) -> Iterator[bytes]:
        """All of an object, in pieces of at most 1 MiB."""
        with named("read"):
            body = self._client.get_object(Bucket=self.bucket, Key=key)["Body"]
            with contextlib.closing(body):
                yield from body.iter_chunks(_BLOCK_BYTES)

    def open(self, key: str, size: int, kept: Callable[[int, int], bytes] = _nothing) -> ObjectReader:
        """The object as a seekable file that fetches only what is read, and of that only what `kept(at, count)` lacks:
        it gives the bytes from `at` that are at hand, at most `count`, none if there are none.
        """
        return ObjectReader(partial(self.read, key), size, kept)

    def keys(self, prefix: str, *, limit: int = 1000) -> list[str]:
        """Keys that begin with `prefix`, at most `limit`."""
        with named("list"):
            answer = self._client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=limit)
        return [item["Key"] for item in answer.get("Contents", [])]

    def delete(self, key: str) -> None:
        """Remove an object; it is no error when there is none. Asked once: what was only heard of later, or comes again
        after an answer that was lost, could remove what has been stored since.
        """
        with named("delete"):
            self._wire.ask(self.bucket, Request("DeleteObject", "DELETE", key, {"Content-Length": "0"}, repeats=False))

    def delete_versions(self, key: str) -> None:
        """Remove whatever the bucket keeps of an object that was written over or deleted, and marks that it was."""
        with named("list versions"):
            pages = list(self._client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=key))
        kept = [one for page in pages for one in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]]
        with named("delete version"):
            for one in kept:
                if one["Key"] == key:
                    self._client.delete_object(Bucket=self.bucket, Key=key, VersionId=one["VersionId"])

    def presign(self, key: str, *, seconds: int) -> str:
        """A link that lets anybody read the object for so long. Made here, no call to the store."""
        return self._links.make(self.bucket, key, seconds)

    # --- objects in parts ---------------------------------------------------------------------------------------
    def begin(self, key: str, *, content_type: str, filename: str, metadata: Mapping[str, str]) -> str:
        """Begin an object that comes in parts; the upload's id."""
        what = self._label(content_type, filename, metadata)
        with named("begin"):
            answer = self._client.create_multipart_upload(Bucket=self.bucket, Key=key, **what)
        if answer["ResponseMetadata"]["RetryAttempts"]:  # an answer that was lost may have named another one
            self.end_uploads(key, but=answer["UploadId"])
        return answer["UploadId"]

    def put_part(self, key: str, upload_id: str, number: int, body: Body, length: int) -> str:
        """Send part `number` (from 1) of `length` bytes while they come; its ETag. Sent again, it takes its place."""
        with named("part"):
            query = {"uploadId": upload_id, "partNumber": str(number)}
            return self._sent(Request("UploadPart", "PUT", key, query=query, body=body, length=length))

    def complete(self, key: str, upload_id: str, etags: Sequence[str]) -> str:
        """Make the object appear under its key, all at once; its ETag. Raises `UploadGone`, also when it had before."""
        parts: Any = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        with named("complete"):
            answer = self._client.complete_multipart_upload(
                Bucket=self.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
            )
            return answer["ETag"]

    def abort(self, key: str, upload_id: str) -> None:
        """Throw the parts away; it is no error when there are none, nor when they have become the object."""
        try:
            with named("abort"):
                self._client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
        except StoreError as fault:
            if not isinstance(fault, UploadGone) and fault.code != "NoSuchKey":  # Swift's word for a completed upload
                raise

    def end_uploads(self, key: str, *, known: str | None = None, but: str | None = None) -> None:
        """Throw away what was begun under `key`, the upload `known` first, except for the upload `but`. There may be
        some that nobody wrote down: their worker was killed, or the answer to the call that began them was lost. Where
        the store's key may not look for those, they are left to the bucket's lifecycle rule.
        """
        try:
            if known:
                self.abort(key, known)
            for pending in self.pending(key):
                if pending.key == key and pending.upload_id != but:
                    self.abort(key, pending.upload_id)
        except StoreError as fault:
            if not fault.forbids:
                raise
            log.info("uploads.not_ended", key=key, reason=str(fault))

    def pending(self, prefix: str = "") -> list[Pending]:
        """Uploads that were begun and not ended, of keys that begin with `prefix`."""
        with named("list uploads"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix)
            try:
                uploads = [item for page in pages for item in page.get("Uploads", [])]
            except self._client.exceptions.NoSuchUpload:  # how rclone says that there is none
                return []
        return [Pending(item["Key"], item["UploadId"], item["Initiated"]) for item in uploads]

    def lifecycle(self) -> Sequence[Mapping[str, Any]]:
        """The bucket's lifecycle rules."""
        return list(self._lifecycle().get("Rules", []))

    def set_lifecycle(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Give the bucket these lifecycle rules, in place of all that it has. What AWS keeps beside them stays:
        from which size on they move objects.
        """
        size = self._lifecycle().get("TransitionDefaultMinimumObjectSize")
        beside: Any = {"TransitionDefaultMinimumObjectSize": size} if size else {}
        sent: Any = {"Rules": list(rules)}
        with named("lifecycle"):
            self._client.put_bucket_lifecycle_configuration(Bucket=self.bucket, LifecycleConfiguration=sent, **beside)

    def _lifecycle(self) -> Mapping[str, Any]:
        """What the bucket says of its rules; empty where it has none."""
        try:
            with named("lifecycle"):
                answer: Any = self._client.get_bucket_lifecycle_configuration(Bucket=self.bucket)
                return dict(answer)
        except StoreError as fault:
            if fault.code == "NoSuchLifecycleConfiguration":
                return {}
            raise

    def keeps_versions(self) -> bool:
        """Whether the bucket keeps, unseen, what is deleted or written over."""
        try:
            with named("versions"):
                answer = self._wire.ask(
                    self.bucket, Request("GetBucketVersioning", "GET", "", query={"versioning": ""})
                )
        except StoreError as fault:
            if fault.code in _NO_CONDITION | {"405", "MethodNotAllowed"}:  # it knows of none
                return False
            raise
        return b"<Status>Enabled" in answer.content

    def _sent(self, request: Request) -> str:
        """The ETag of what was sent."""
        return _said(self._wire.ask(self.bucket, request).headers, "ETag", request.operation)

    def _label(self, content_type: str, filename: str, metadata: Mapping[str, str]) -> dict[str, Any]:
        disposition = f'inline; filename="{filename}"'
        return {
            "ContentType": content_type,
            "ContentDisposition": disposition,
            "Metadata": dict(metadata),
            **self._options,
        }


def _said(headers: Mapping[str, str], name: str, operation: str) -> str:
    """What an answer has to say. Raises `StoreError` where it does not."""
    if name not in headers:
        raise StoreError(f"S3 {operation}: the answer says no {name}")
    return headers[name]


def _headers(label: Mapping[str, Any]) -> dict[str, str]:
    """What the client library makes of these parameters."""
    metadata = {f"{_METADATA}{name}": value for name, value in label["Metadata"].items()}
    return {_HEADERS[name]: value for name, value in label.items() if name != "Metadata"} | metadata


def _relabel_bytes(settings: Settings) -> int:
    if settings.s3_relabel_bytes is not None:
        return settings.s3_relabel_bytes
    return 0 if dialect(settings.s3_endpoint_url).keeps_versions else _RELABEL_BYTES


def _options(settings: Settings) -> dict[str, Any]:
    """What every object is stored with, by the settings. No ACL: private is what a bucket is unless told otherwise."""
    options = {
        "CacheControl": settings.s3_cache_control,
        "StorageClass": settings.s3_storage_class,
        "ServerSideEncryption": settings.s3_sse,
        "SSEKMSKeyId": settings.s3_sse_kms_key_id,
    }
    return {name: value for name, value in options.items() if value}
