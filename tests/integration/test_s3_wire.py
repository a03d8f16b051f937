"""The short way into a bucket says what the client library would have said, and bears what that bears."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
from pydantic import SecretStr
from urllib3.response import HTTPResponse

from infra import s3_wire
from infra.object_store import ObjectStore
from infra.settings import Settings, load
from infra.store_errors import StoreError, Taken
from tests.listener import server
from tests.s3_gate import Gate
from tests.unit.test_stores import OURS, REST
from worker.tape import Held

ODD = ["a b/c+d.mp4", "caf\u00e9/\u96ea.mp4", "~a/(b)*'!@$&=;:,?#%25%zz.mp4", "a//b/./c.mp4"]
LABEL: dict[str, Any] = {"content_type": "video/mp4", "filename": "a b.mp4", "metadata": {"reelhook-job": "01J"}}
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


class Passing:
    """A body that passes by once."""

    def __init__(self, content: bytes) -> None:
        self._file = BytesIO(content)

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        return self._file.read(size)


def held() -> Any:
    """A body that can be sent again; the library's stubs ask for more of it than the library."""
    return Held([b"hel", b"lo"])


def passing() -> Any:
    """One that can't."""
    return Passing(b"hello")


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


def test_a_wrong_secret_is_refused(settings: Settings) -> None:
    """The store's own word for it is what is raised, and no link with the wrong secret opens."""
    store = ObjectStore(settings.model_copy(update={"s3_secret_access_key": SecretStr("wrong")}))
    calls: tuple[Callable[[], Any], ...] = (
        lambda: store.put("a", b"x", **LABEL),
        lambda: store.put_part("a", "u", 1, BytesIO(b"x"), 1),
    )
    for call in calls:
        with pytest.raises(StoreError, match="SignatureDoesNotMatch") as caught:
            call()
        assert "SignatureDoesNotMatch" == caught.value.code

    with pytest.raises(StoreError, match="403"):
        store.head("a")
    assert 403 == requests.get(store.presign("a", seconds=60), timeout=10).status_code


def test_a_bucket_of_another_region_is_found(settings: Settings) -> None:
    """A store that says that the region is another is asked again there; a body that passed by goes there next time."""
    ObjectStore(settings).delete("region")
    gate = Gate(str(settings.s3_endpoint_url))
    with gate:
        away = settings.model_copy(update={"s3_region": "eu-west-3", "s3_endpoint_url": gate.url})
        store = ObjectStore(away)
        with pytest.raises(StoreError, match="AuthorizationHeaderMalformed"):
            store.put_stream("region", Passing(b"x"), 1, **LABEL)
        gate.heard.clear()
        assert store.put_stream("region", Passing(b"x"), 1, **LABEL)
        assert ObjectStore(away).put("region", b"x", **LABEL)

    assert ["put"] == gate.heard[:1]


def test_many_that_hear_at_once_that_a_region_is_wrong_all_find_it(settings: Settings) -> None:
    """One of them asks where the bucket is; the others go where it has found it."""
    ObjectStore(settings).delete("region")
    store = ObjectStore(settings.model_copy(update={"s3_region": "eu-west-3"}))
    begin = threading.Barrier(12)

    def put(number: int) -> str:
        begin.wait()
        return store.put(f"region-{number}", b"x", **LABEL)

    with ThreadPoolExecutor(12) as threads:
        assert 1 == len(set(threads.map(put, range(12))))


@pytest.fixture
def gate(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Gate, ObjectStore]]:
    """The bucket behind a gate, asked again without long pauses."""
    monkeypatch.setattr(s3_wire, "_BUSY_SECONDS", 0.01)
    with Gate(str(settings.s3_endpoint_url)) as gate:
        yield gate, ObjectStore(settings.model_copy(update={"s3_endpoint_url": gate.url}))


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (200, "InternalError")])
def test_a_passing_refusal_passes(gate: tuple[Gate, ObjectStore], status: int, code: str) -> None:
    """What can be sent again is, three times; a 200 that holds an error is one. What passes by is sent once."""
    there, store = gate
    store.delete("again")
    there.refuse("put", status, code, times=3)
    assert store.put_stream("again", held(), 5, **LABEL)
    assert ["put"] * 4 == there.heard[-4:]

    there.heard.clear()
    there.refuse("put", status, code, times=1)
    with pytest.raises(StoreError, match=code):
        store.put_stream("again", passing(), 5, **LABEL)
    assert ["put"] == there.heard


def test_what_lies_there_is_not_written_over(gate: tuple[Gate, ObjectStore]) -> None:
    """A file is stored where there is none. A store that knows no such condition is asked without it, from then on."""
    there, store = gate
    store.put("there", b"first", **LABEL)
    for body in (held(), passing()):
        with pytest.raises(Taken, match="PreconditionFailed"):
            store.put_stream("there", body, 5, **LABEL)
    assert b"first" == store.read("there", 0, 9)

    there.heard.clear()
    there.refuse("put", 501, "NotImplemented", times=1)
    assert store.put_stream("there", held(), 5, **LABEL)
    assert store.put_stream("there", passing(), 5, **LABEL)
    assert ["put"] * 3 == there.heard
    assert b"hello" == store.read("there", 0, 9)


def test_a_store_without_conditions_loses_one_attempt_at_most(gate: tuple[Gate, ObjectStore]) -> None:
    """What passed by can't be sent again at once: that is said as nothing that would hold other files up."""
    there, store = gate
    store.put("there", b"first", **LABEL)
    there.refuse("put", 501, "NotImplemented", times=1)
    with pytest.raises(StoreError, match="without a condition") as caught:
        store.put_stream("there", passing(), 5, **LABEL)

    assert (False, False) == (caught.value.lasts, caught.value.is_of_bucket)
    assert store.put_stream("there", passing(), 5, **LABEL)


def test_a_refusal_that_lasts_is_told(gate: tuple[Gate, ObjectStore]) -> None:
    """After four attempts the store's word is raised; one that says no for good is not asked again."""
    there, store = gate
    there.refuse("put", 503, "SlowDown", times=4)
    with pytest.raises(StoreError, match="SlowDown"):
        store.put("again", b"hello", **LABEL)
    assert ["put"] * 4 == there.heard

    there.heard.clear()
    there.refuse("put", 403, "AccessDenied", times=1)
    with pytest.raises(StoreError, match="AccessDenied"):
        store.put("again", b"hello", **LABEL)
    assert ["put"] == there.heard


@pytest.mark.parametrize("early", [True, False])
def test_a_kept_connection_that_died_fails_no_call(settings: Settings, *, early: bool) -> None:
    """A store may end a connection between two calls, or just as the second arrives: that one gets another."""
    ends: list[int] = []

    def answer_one(connection: socket.socket) -> None:
        connection.settimeout(5)
        ends.append(connection.getpeername()[1])
        heard = b""
        while not heard.endswith(b"hello"):
            heard += connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n')
        if not early and len(ends) == 1:
            connection.recv(1)

    with server(answer_one) as port:
        store = ObjectStore(settings.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{port}"}))
        assert ['"e"'] * 2 == [store.put("a", b"hello", **LABEL) for _ in range(2)]

    assert 2 == len(set(ends))


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


def test_who_may_not_list_may_still_ask(gate: tuple[Gate, ObjectStore]) -> None:
    """A 403 is told of by `head`; `seen` takes it as nothing there. Other refusals are told of by both."""
    there, store = gate
    there.refuse("head", 403, "AccessDenied", times=2)
    with pytest.raises(StoreError, match="403"):
        store.head("nothing")
    assert store.seen("nothing") is None

    there.refuse("head", 501, "NotImplemented", times=1)
    with pytest.raises(StoreError, match="501"):
        store.seen("nothing")


def test_nobody_there_is_told() -> None:
    """A store that can't be reached is a `StoreError`, which names no link."""
    with server(lambda _: None) as port:
        pass
    settings = load({**REST, **OURS, "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}"})
    with pytest.raises(StoreError, match=r"S3 put: EndpointConnectionError$"):
        ObjectStore(settings).put("a", b"x", **LABEL)


def test_a_store_that_starts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens the same is tried again, as after any answer that did not come."""
    sent: list[str] = []
    send = s3_wire.Wire._sent

    def counted(wire: s3_wire.Wire, place: s3_wire.Place, request: s3_wire.Request) -> AWSResponse:
        sent.append(request.method)
        return send(wire, place, request)

    monkeypatch.setattr(s3_wire.Wire, "_sent", counted)
    with server(lambda _: None) as port:
        pass
    store = ObjectStore(load({**REST, **OURS, "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}"}))
    with pytest.raises(StoreError, match="EndpointConnectionError"):
        store.put("a", b"x", **LABEL)

    assert ["PUT"] * s3_wire.ATTEMPTS == sent


def test_an_answer_that_says_too_little_is_the_store_s_fault() -> None:
    """Without ETag or length it is a `StoreError`, and nothing against a file."""

    def answer(connection: socket.socket) -> None:
        connection.settimeout(5)
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")

    with server(answer) as port:
        store = ObjectStore(load({**REST, **OURS, "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}"}))
        with pytest.raises(StoreError, match="the answer says no ETag"):
            store.put("a", b"", **LABEL)
        with pytest.raises(StoreError, match="the answer says no content-length"):
            store.head("a")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _bytes(body: Any) -> bytes:
    return b"".join(iter(body.read, b"")) if hasattr(body, "read") else body or b""
