"""The few words of ASGI that the door speaks. Source: https://asgi.readthedocs.io/en/latest/specs/www.html."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Hangup(Exception):
    """The client has gone."""


class TooLong(Exception):
    """The body has more bytes than are wanted."""


@dataclass(frozen=True)
class Answer:
    """A whole answer. `value`, where there is one, goes out as JSON."""

    status: int
    value: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    async def send(self, send: Send) -> None:
        """On its way."""
        body = b"" if self.value is None else json.dumps(self.value).encode()
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        if self.value is not None:
            headers += [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def headers_of(scope: Scope) -> dict[str, str]:
    """The request's headers by lower-case name; those that came several times joined by commas."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


async def chunks_of(receive: Receive) -> AsyncIterator[bytes]:
    """The body as it comes. Raises `Hangup`."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Hangup
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def body_of(receive: Receive, *, limit: int, seconds: float) -> bytes:
    """The body, at most `limit` bytes, within so many seconds. Raises `TooLong`, `TimeoutError` or `Hangup`."""
    body = b""
    async with asyncio.timeout(seconds):
        async for chunk in chunks_of(receive):
            body += chunk
            if len(body) > limit:
                raise TooLong
    return body
