"""A store that refuses, is elsewhere, is not there or says too little: each call hears what it means."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
import requests
from botocore.awsrequest import AWSResponse
from pydantic import SecretStr

from infra import s3_wire
from infra.object_store import ObjectStore
from infra.settings import Settings, load
from infra.store_errors import StoreError, Taken
from tests.integration.wire_kit import LABEL, Passing, held, passing
from tests.listener import server
from tests.s3_gate import Gate
from tests.unit.test_stores import OURS, REST


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
    assert 403 == requests.get(store.presign("a", seconds=60), timeout=30).status_code


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
        connection.settimeout(60)
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

    assert 2 == len(ends)


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


def test_nobody_there_is_told(nobody: str) -> None:
    """A store that can't be reached is a `StoreError`, which names no link."""
    settings = load({**REST, **OURS, "S3_ENDPOINT_URL": nobody})
    with pytest.raises(StoreError, match=r"S3 put: EndpointConnectionError$"):
        ObjectStore(settings).put("a", b"x", **LABEL)


def test_a_store_that_starts_is_waited_for(monkeypatch: pytest.MonkeyPatch, nobody: str) -> None:
    """Where nobody listens the same is tried again, as after any answer that did not come."""
    sent: list[str] = []
    send = s3_wire.Wire._sent

    def counted(wire: s3_wire.Wire, place: s3_wire.Place, request: s3_wire.Request) -> AWSResponse:
        sent.append(request.method)
        return send(wire, place, request)

    monkeypatch.setattr(s3_wire.Wire, "_sent", counted)
    store = ObjectStore(load({**REST, **OURS, "S3_ENDPOINT_URL": nobody}))
    with pytest.raises(StoreError, match="EndpointConnectionError"):
        store.put("a", b"x", **LABEL)

    assert ["PUT"] * s3_wire.ATTEMPTS == sent


def test_an_answer_that_says_too_little_is_the_store_s_fault() -> None:
    """Without ETag or length it is a `StoreError`, and nothing against a file."""

    def answer(connection: socket.socket) -> None:
        connection.settimeout(60)
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")

    with server(answer) as port:
        store = ObjectStore(load({**REST, **OURS, "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}"}))
        with pytest.raises(StoreError, match="the answer says no ETag"):
            store.put("a", b"", **LABEL)
        with pytest.raises(StoreError, match="the answer says no content-length"):
            store.head("a")
