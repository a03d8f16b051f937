"""Flask behind ASGI: the loop gathers a request's body, a thread runs the app. Source: PEP 3333.

A thread is taken once all of the request is there, so clients that drip their bytes hold none.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from wsgiref.types import WSGIApplication

from webhook.asgi import Answer, Hangup, Receive, Scope, Send, chunks_of, headers_of
from webhook.problems import problem

#: Seconds that a body may take to come: routers give a request up after as many.
_BODY_SECONDS = 30
#: Bodies of more bytes are gathered so many at a time; those of others are left in the socket meanwhile.
_LARGE = 2**20
_LARGE_ONES = 2


@dataclass
class _Response:
    status: int
    headers: list[tuple[str, str]]
    chunks: Iterable[bytes]
    #: All of it, where the app knows how long it is; `chunks` then has nothing more to say.
    whole: bytes | None


class Bridge:
    """A WSGI app as an ASGI one. `limit`: bytes of a body that the app wants; it refuses longer ones itself."""

    def __init__(self, app: WSGIApplication, *, threads: int, limit: int) -> None:
        self._app = app
        self._pool = ThreadPoolExecutor(threads, "door")
        self._limit = limit
        self._large = asyncio.Semaphore(_LARGE_ONES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        headers = headers_of(scope)
        try:
            async with AsyncExitStack() as held:
                body = await self._gather(headers, receive, held)
                environ = _environ(scope, headers, body)
                response = await asyncio.get_running_loop().run_in_executor(self._pool, self._run, environ)
        except Hangup:
            return
        except TimeoutError:
            late = problem(408, f"the request did not come within {_BODY_SECONDS} s")
            await Answer(408, late, {"Connection": "close"}).send(send)
            return
        too_long = int(environ["CONTENT_LENGTH"]) > self._limit
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        raw += [(b"connection", b"close")] * too_long  # what is left of the body would hold the connection
        await send({"type": "http.response.start", "status": response.status, "headers": raw})
        await self._pass_on(response, receive, send)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    async def _gather(self, headers: Mapping[str, str], receive: Receive, held: AsyncExitStack) -> bytes:
        """The body, or as much of it as shows that it is too long."""
        body = bytearray()
        if int(headers.get("content-length", 0)) > self._limit:
            return b""
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in chunks_of(receive):
                if len(body) <= _LARGE < len(body) + len(chunk):
                    await held.enter_async_context(self._large)
                body += chunk
                if len(body) > self._limit:
                    break
        return bytes(body)

    def _run(self, environ: dict[str, Any]) -> _Response:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> Any:
            started[:] = [(status, headers)]

        chunks = self._app(environ, start_response)
        status, headers = started[0]
        whole = None
        if any(name.lower() == "content-length" for name, _ in headers):
            whole = b"".join(chunks)
            _close(chunks)
        return _Response(int(status[:3]), headers, chunks, whole)

    async def _pass_on(self, response: _Response, receive: Receive, send: Send) -> None:
        """Send the body of an answer. One of unknown length is sent as it is made, until the client has gone."""
        if response.whole is not None:
            await send({"type": "http.response.body", "body": response.whole})
            return
        loop, chunks = asyncio.get_running_loop(), iter(response.chunks)
        gone = asyncio.ensure_future(receive())
        try:
            while not gone.done() and (chunk := await loop.run_in_executor(self._pool, next, chunks, None)) is not None:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            gone.cancel()
            await loop.run_in_executor(self._pool, _close, response.chunks)


def _close(chunks: Iterable[bytes]) -> None:
    if close := getattr(chunks, "close", None):
        close()


def _environ(scope: Scope, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    # A name with an underscore would pass for the one with a hyphen.
    named = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items() if "_" not in name}
    return {
        **named,
        "CONTENT_TYPE": named.pop("HTTP_CONTENT_TYPE", ""),
        # The app sees how long a body is that it will not be given.
        "CONTENT_LENGTH": str(max(int(named.pop("HTTP_CONTENT_LENGTH", 0)), len(body))),
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        # Whose addresses these are is a router's matter: nothing of ours asks for them.
        "SERVER_NAME": "",
        "SERVER_PORT": "0",
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
