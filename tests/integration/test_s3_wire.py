"""The short way into a bucket says what the client library would have said, and bears what that bears."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from typing import Any

import pytest
import requests
from botocore.awsrequest import AWSResponse
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from urllib3.response import HTTPResponse

from infra import s3_wire
from infra.object_store import ObjectStore
from infra.settings import Settings, load
from infra.store_errors import StoreError
from tests.integration.wire_kit import LABEL, Passing, held, passing
from tests.s3_gate import Gate
from tests.unit.test_stores import OURS, REST
from worker.tape import Held

ODD = ["a b/c+d.mp4", "caf\u00e9/\u96ea.mp4", "~a/(b)*'!@$&=;:,?#%25%zz.mp4", "a//b/./c.mp4"]
SAID: dict[str, Any] = {
    "ContentType": "video/mp4", "ContentDisposition": 'inline; filename="a b.mp4"', "Metadata": {"reelhook-job": "01J"},
}  # fmt: skip
#: What the library says of itself, of its attempts and of its patience; and the signature that covers those.
UNEQUAL = {"amz-sdk-invocation-id", "amz-sdk-request", "authorization", "user-agent", "expect", "x-amz-checksum-mode"}
STORES: dict[str, dict[str, str]] = {
    "AWS": {"S3_REGION": "eu-west-1"},
    "AWS, a bucket with dots": {"S3_BUCKET": "films.example", "S3_REGION": "eu-west-1"},
    "AWS, a lent key": {"S3_SESSION_TOKEN": "t0ken"},
    "AWS, a KMS key": {"S3_SSE": "aws:kms", "S3_SSE_KMS_KEY_ID": "k1", "S3_STORAGE_CLASS": "STANDARD_IA"},
    "AWS, the oldest checksums": {"S3_CHECKSUMS": "when_required"},
    "R2": {"S3_ENDPOINT_URL": "https://abc.r2.cloudflarestorage.com"},
    "Spaces": {"S3_ENDPOINT_URL": "https://ams3.digitaloceanspaces.com"},
    "one with newer checksums": {"S3_ENDPOINT_URL": "https://s.example", "S3_CHECKSUMS": "when_supported"},
    "one without TLS": {"S3_ENDPOINT_URL": "http://store.example:9000"},
}  # fmt: skip


@pytest.fixture(params=STORES)
def recorded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[ObjectStore, list[Any]]:
    """See `recording`; one that speaks this dialect."""
    return recording(STORES[request.param], monkeypatch)


def recording(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> tuple[ObjectStore, list[Any]]:
    """A store of which nothing is there but a note of what would have been sent, at one moment."""
    store = store_of(**variables)
    sent: list[Any] = []

    def send(prepared: Any) -> AWSResponse:
        headers = {name.lower(): _text(value) for name, value in prepared.headers.items()}
        equal = {name: value for name, value in headers.items() if name not in UNEQUAL}
        sent.append((prepared.method, prepared.url, equal, _bytes(prepared.body)))
        said: Any = {"ETag": '"e"', "Content-Length": "5"}
        return AWSResponse(prepared.url, 200, said, HTTPResponse(BytesIO(), preload_content=False))

    session: Any = store._client
    monkeypatch.setattr(session._endpoint.http_session, "send", send)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime(2026, 11, 21, tzinfo=UTC))
    return store, sent


@cache
def store_of(**variables: str) -> ObjectStore:
    """A store that these variables tell of."""
    return ObjectStore(load({**REST, **OURS, **variables}))


#: What is said of a file: it must not be written over one that is there.
NEW: Any = {"IfNoneMatch": "*"}
CALLS: dict[str, tuple[Callable[[ObjectStore, str], Any], Callable[[ObjectStore, str, Any], Any]]] = {
    "put": (
        lambda store, key: store.put(key, b"hello", **LABEL),
        lambda store, key, more: store._client.put_object(
            Bucket=store.bucket, Key=key, Body=b"hello", **SAID, **more
        ),
    ),
    "put what is held": (
        lambda store, key: store.put_stream(key, BytesIO(b"hello"), 5, **LABEL),
        lambda store, key, more: store._client.put_object(
            Bucket=store.bucket, Key=key, Body=BytesIO(b"hello"), ContentLength=5, **SAID, **more, **NEW
        ),
    ),
    "put what passes by": (
        lambda store, key: store.put_stream(key, passing(), 5, **LABEL),
        lambda store, key, more: store._client.put_object(
            Bucket=store.bucket, Key=key, Body=passing(), ContentLength=5, **SAID, **more, **NEW
        ),
    ),
    "part": (
        lambda store, key: store.put_part(key, "u/+=1", 3, BytesIO(b"hello"), 5),
        lambda store, key, _: store._client.upload_part(
            Bucket=store.bucket, Key=key, UploadId="u/+=1", PartNumber=3, Body=BytesIO(b"hello"), ContentLength=5
        ),
    ),
    "delete": (
        lambda store, key: store.delete(key),
        lambda store, key, _: store._client.delete_object(Bucket=store.bucket, Key=key),
    ),
    "head": (
        lambda store, key: store.head(key),
        lambda store, key, _: store._client.head_object(Bucket=store.bucket, Key=key),
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
@hypothesis_settings(max_examples=15)
@given(key=st.one_of(st.sampled_from(ODD), st.text("abc/.~ +%\u00e9\u96ea?#&=", min_size=1)))
def test_what_is_sent_is_what_the_library_sends(recorded: tuple[ObjectStore, list[Any]], call: str, key: str) -> None:
    """Line, headers and body of each call are the library's, in each dialect and for any key. Only a HEAD asks for no
    checksum: nothing is read that it could prove.
    """
    store, sent = recorded
    sent.clear()
    ours, theirs = CALLS[call]

    theirs(store, key, store._options)
    ours(store, key)

    assert sent[0] == sent[1]


BODIES: list[Callable[[], Any]] = [lambda: b"hello", lambda: BytesIO(b"hello"), held, passing]


@pytest.mark.parametrize("make", BODIES, ids=lambda make: type(make()).__name__)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_newer_checksums_go_with_all(make: Callable[[], Any], scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Length and CRC-32 are right whatever the body can do: over TLS behind it, else in a header, if it stays."""
    endpoint = {"S3_ENDPOINT_URL": f"{scheme}://s.example", "S3_CHECKSUMS": "when_supported"}
    store, sent = recording(endpoint, monkeypatch)
    body = make()
    if isinstance(body, bytes):
        store.put("a", body, **LABEL)
    else:
        store.put_stream("a", body, 5, **LABEL)

    headers, content = sent[0][2:]
    where = [headers.get(name) for name in ("content-length", "x-amz-decoded-content-length", "x-amz-checksum-crc32")]
    if scheme == "https":
        assert [None, "5", None] == where
        assert content.endswith(b"0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n")
    else:
        assert ["5", None, None if isinstance(body, Passing) else "NhCmhg=="] == where
        assert b"hello" == content


@given(pieces=st.lists(st.integers(1, 100_000), min_size=1, max_size=30))
def test_chunks_are_as_long_as_a_store_wants_them(pieces: list[int]) -> None:
    """However a body comes, no chunk of it but the last is shorter than 8 KiB, and all of it is sent."""
    body = s3_wire._Gathered(Held([bytes([at]) * length for at, length in enumerate(pieces)]))
    chunks = list(iter(lambda: body.read(2**20), b""))

    assert all(len(chunk) >= 8192 for chunk in chunks[:-1])
    assert b"".join(bytes([at]) * length for at, length in enumerate(pieces)) == b"".join(chunks)


@hypothesis_settings(max_examples=15)
@given(key=st.one_of(st.sampled_from(ODD), st.text("abc/.~ +%\u00e9\u96ea?#&=", min_size=1)))
def test_a_link_is_the_library_s(recorded: tuple[ObjectStore, list[Any]], key: str) -> None:
    """A link is the library's to the last letter, in each dialect and for any key."""
    store, _ = recorded
    params = {"Bucket": store.bucket, "Key": key}

    assert store._client.generate_presigned_url("get_object", Params=params, ExpiresIn=60) == store.presign(
        key, seconds=60
    )


@pytest.mark.parametrize("key", [key for key in ODD if "//" not in key])  # Swift reads that as another
def test_a_real_store_takes_what_is_signed(bucket: ObjectStore, key: str) -> None:
    """Stored under an odd key, seen there, read by a link that opens, and gone when it is deleted."""
    key = f"odd/{key}"
    etags = {bucket.put_stream(key, held(), 5, **LABEL), bucket.put(key, b"hello", **LABEL)}

    stored = bucket.head(key)
    assert stored is not None
    assert (5, "video/mp4", {"reelhook-job": "01J"}) == (stored.size, stored.content_type, stored.metadata)
    assert {stored.etag} == etags
    assert b"hello" == requests.get(bucket.presign(key, seconds=60), timeout=10).content
    assert [key] == bucket.keys("odd/")
    bucket.delete(key)
    assert bucket.head(key) is None


def test_what_objects_are_stored_with_is_on_the_wire(settings: Settings) -> None:
    """Storage class and encryption, with its key, are asked for wherever an object begins."""
    wanted = {"s3_storage_class": "STANDARD_IA", "s3_sse": "aws:kms", "s3_sse_kms_key_id": "k1"}
    sent: list[Any] = []

    def note(headers: Any) -> bool:
        sent.append(headers)
        return True

    with Gate(str(settings.s3_endpoint_url)) as there:
        store = ObjectStore(settings.model_copy(update={"s3_endpoint_url": there.url, **wanted}))
        for operation, call in (
            ("put", lambda: store.put("a", b"x", **LABEL)),
            ("put", lambda: store.put_stream("a", held(), 5, **LABEL)),
            ("begin", lambda: store.begin("a", **LABEL)),
            ("copy", lambda: store.relabel("a", '"e"', **LABEL)),
        ):
            there.refuse(operation, 403, "AccessDenied", times=1, when=note)
            with pytest.raises(StoreError, match="AccessDenied"):
                call()

    said = [[headers.get(f"x-amz-{name}") for name in STORED_WITH] for headers in sent]
    assert [["STANDARD_IA", "aws:kms", "k1"]] * 4 == said


STORED_WITH = ("storage-class", "server-side-encryption", "server-side-encryption-aws-kms-key-id")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _bytes(body: Any) -> bytes:
    return b"".join(iter(body.read, b"")) if hasattr(body, "read") else body or b""


def test_no_proxy_of_the_environment_stands_before_the_store(
    settings: Settings, bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a machine sets for its other tools neither hears our keys nor keeps us from a store on the same machine."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    made = ObjectStore(settings)
    made.put("proxied/a", b"x", **LABEL)

    assert ["proxied/a"] == made.keys("proxied/")
    made.delete("proxied/a")
