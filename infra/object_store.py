"""An S3-compatible bucket: whole objects, multipart uploads, ranges, presigned links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Bytes of one part: above S3's least (5 MiB), and 10,000 of them hold 80 GiB.
PART_BYTES = 8 * 2**20
_BLOCK_BYTES = 2**20


class StoreError(Exception):
    """The store refused or could not be reached. The text names the operation and the store's code, no link."""


@dataclass(frozen=True)
class Stored:
    """What the store says of an object."""

    size: int
    etag: str
    content_type: str
    metadata: Mapping[str, str]


class ObjectStore:
    """One bucket. To be made after fork; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self.bucket = settings.s3_bucket
        self._client = _client(settings, settings.s3_endpoint_url)
        public = settings.s3_public_endpoint_url
        self._signer = _client(settings, public) if public else self._client

    def put(self, key: str, body: bytes, *, content_type: str, metadata: Mapping[str, str]) -> None:
        """Store a small object whole."""
        with _named("put"):
            self._client.put_object(
                Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, Metadata=dict(metadata)
            )

    def upload(self, key: str, *, content_type: str, metadata: Mapping[str, str]) -> Upload:
        """Begin an object whose length is not known yet; it holds one part in memory."""
        return Upload(self._client, self.bucket, key, content_type, metadata)

    def head(self, key: str) -> Stored | None:
        """What is stored under `key`; None when nothing is."""
        try:
            with _named("head"):
                answer = self._client.head_object(Bucket=self.bucket, Key=key)
        except StoreError as fault:
            if _code(fault) in {"404", "NoSuchKey", "NotFound"}:
                return None
            raise
        return Stored(answer["ContentLength"], answer["ETag"], answer.get("ContentType", ""), answer["Metadata"])

    def read(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes of an object from byte `start`; fewer at its end."""
        with _named("read"):
            answer = self._client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={start}-{start + length - 1}")
            return answer["Body"].read()

    def open(self, key: str, size: int) -> ObjectReader:
        """The object as a seekable file that fetches only what is read."""
        return ObjectReader(self, key, size)

    def delete(self, key: str) -> None:
        """Remove an object; it is no error when there is none."""
        with _named("delete"):
            self._client.delete_object(Bucket=self.bucket, Key=key)

    def presign(self, key: str, *, seconds: int) -> str:
        """A link that lets anybody read the object for so long. Made here, no call to the store."""
        return self._signer.generate_presigned_url(
            "get_object", Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=seconds
        )


class Upload:
    """An object being written. Ends with `finish()` or `abort()`; used as a context, an error aborts it."""

    def __init__(self, client: S3Client, bucket: str, key: str, content_type: str, metadata: Mapping[str, str]) -> None:
        self._client = client
        self._where: Any = {"Bucket": bucket, "Key": key}
        self._what: Any = {"ContentType": content_type, "Metadata": dict(metadata)}
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._parts: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, fault: object, trace: object) -> None:
        if kind is not None:
            self.abort()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; sends a part whenever one is full."""
        self._buffer += chunk
        while len(self._buffer) >= PART_BYTES:
            self._send_part(bytes(self._buffer[:PART_BYTES]))
            del self._buffer[:PART_BYTES]

    def finish(self) -> None:
        """Make the object appear under its key, all at once."""
        if self._upload_id is None:
            with _named("put"):
                self._client.put_object(**self._where, **self._what, Body=bytes(self._buffer))
            return
        if self._buffer:
            self._send_part(bytes(self._buffer))
        with _named("complete"):
            self._client.complete_multipart_upload(
                **self._where, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
            )
        self._upload_id = None

    def abort(self) -> None:
        """Leave nothing behind. A store that can't be reached now keeps the parts; the lifecycle rule ends them."""
        if self._upload_id is None:
            return
        try:
            with _named("abort"):
                self._client.abort_multipart_upload(**self._where, UploadId=self._upload_id)
        except StoreError:
            return
        self._upload_id = None

    def _send_part(self, body: bytes) -> None:
        with _named("part"):
            if self._upload_id is None:
                begun = self._client.create_multipart_upload(**self._where, **self._what)
                self._upload_id = begun["UploadId"]
            number = len(self._parts) + 1
            part = self._client.upload_part(**self._where, UploadId=self._upload_id, PartNumber=number, Body=body)
            self._parts.append({"PartNumber": number, "ETag": part["ETag"]})


class ObjectReader(RawIOBase):
    """An object as a seekable read-only file: what a demuxer needs, in blocks of 1 MiB, the last few kept."""

    _KEPT = 4

    def __init__(self, store: ObjectStore, key: str, size: int) -> None:
        self._store = store
        self._key = key
        self._size = size
        self._at = 0
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Move, as a file does."""
        self._at = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._size}[whence] + offset
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes; fewer than `size` at a block's end, none at the object's."""
        wanted = self._size - self._at if size is None or size < 0 else min(size, self._size - self._at)
        taken = bytearray()
        while len(taken) < wanted:
            number, offset = divmod(self._at, _BLOCK_BYTES)
            piece = self._block(number)[offset : offset + wanted - len(taken)]
            if not piece:
                break
            taken += piece
            self._at += len(piece)
        return bytes(taken)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            while len(self._blocks) >= self._KEPT:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[number] = self._store.read(self._key, number * _BLOCK_BYTES, _BLOCK_BYTES)
        return self._blocks[number]


def _client(settings: Settings, endpoint: str | None) -> S3Client:
    on_aws = endpoint is None or (urlsplit(endpoint).hostname or "").endswith(".amazonaws.com")
    # Newer checksum trailers read as bad credentials on several compatible stores.
    checksums: Any = "when_supported" if on_aws else "when_required"
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key_id.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_access_key.get_secret_value(),
        config=Config(
            signature_version="s3v4",  # without it some regions presign by the old scheme
            s3={"addressing_style": settings.s3_addressing_style},
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 4},
            tcp_keepalive=True,
        ),
    )


class _named:  # noqa: N801 - reads as a word in `with _named("put"):`
    """Turns what the client library raises into `StoreError`."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        if isinstance(fault, ClientError):
            error = fault.response.get("Error", {})
            raise StoreError(f"S3 {self._operation}: {error.get('Code')} {error.get('Message')}") from fault
        if isinstance(fault, BotoCoreError):
            raise StoreError(f"S3 {self._operation}: {type(fault).__name__}") from fault


def _code(fault: StoreError) -> str:
    cause = fault.__cause__
    return str(cause.response.get("Error", {}).get("Code")) if isinstance(cause, ClientError) else ""
