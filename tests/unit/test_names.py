"""How long a resolver is waited for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from infra import guard
from infra.guard import Guard
from infra.http import Http, NoPlace, NotSent
from infra.names import look_up


@dataclass
class Silent:
    """A resolver that says nothing while the test lasts; what it was asked and has answered."""

    said: list[str] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def __call__(self, host: str, *_: object, **__: object) -> Any:
        """Wait until the test is over."""
        self.said.append(f"asked for {host}")
        self.asked.set()
        self.over.wait()
        self.said.append("answered")
        self.done.set()
        raise socket.gaierror

    def heard(self) -> list[str]:
        """What was asked and answered so far. Whoever had to ask may do so late: the call waits for no thread."""
        assert self.asked.wait(100)
        return self.said


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silent]:
    """In place of the system's."""
    resolver = Silent()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield resolver
    resolver.over.set()
    assert resolver.done.wait(100)


def test_a_silent_resolver_is_waited_for_no_longer_than_the_call_may_take(silent: Silent) -> None:
    """The system's own waits for minutes: the call ends, unsent, while it is still being waited for."""
    with pytest.raises(NotSent, match=r"no connection to a.example \(TimeoutError\)"):
        Http().send("POST", "http://a.example/", {}, b"x", seconds=0.2)

    assert ["asked for a.example"] == silent.heard()


def test_a_silent_resolver_holds_no_thread_of_the_door(silent: Silent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names a host of which nobody says where it is hears so, and soon."""
    monkeypatch.setattr(guard, "_LOOK_UP_SECONDS", 0.2)

    assert "names a host that can't be resolved" == Guard().refusal_of("https://a.example/")
    assert ["asked for a.example"] == silent.heard()


def test_what_is_no_name_is_said_by_who_was_asked() -> None:
    """An error of the look-up is the caller's, whoever makes it."""
    with pytest.raises(UnicodeError):
        look_up("a" * 70 + ".example", 80, 5)
    with pytest.raises(NoPlace, match="names a host that there can't be"):
        Http().send("GET", f"http://{'a' * 70}.example/", {}, None, seconds=5)


def test_without_another_thread_a_host_is_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform allows so many of them; what a call has to be told is not that there are no more."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert "127.0.0.1" in {found[4][0] for found in look_up("localhost", 80, 5)}
    with pytest.raises(UnicodeError):
        look_up("a" * 70 + ".example", 80, 5)


def test_an_address_is_asked_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is an address leads there, whatever becomes of the resolver."""
    monkeypatch.setattr(threading, "Thread", None)

    assert [("127.0.0.1", 80), ("::1", 80)] == [look_up(name, 80, 0)[0][4][:2] for name in ("127.0.0.1", "::1")]
