"""Uvicorn's HTTP protocol with time limits for slow clients: on sending a request's headers and on reading the answer.

Uvicorn by itself waits for ever for headers that have begun, keeps as many bytes of them as come, and holds an answer
for as long as its client does not read it. And it closes a connection whose client has finished sending (half-closed)
without the answer that the client still waits for; here it gets it.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Seconds that a request's head may take to come, from the connection or from its first byte.
HEAD_SECONDS = 10.0
#: Seconds within which a client must read something of an answer that fills the socket's buffer, or is the last one.
TAKE_SECONDS = 30.0
#: Bytes of a head.
_HEAD_BYTES = 64 * 1024


class PatientProtocol(HttpToolsProtocol):
    """One connection."""

    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _head = 0  #: bytes that came while the head was not complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base class has it
        """A client has connected. As uvicorn's own, without its system calls for addresses that nothing here uses."""
        self.connections.add(self)
        self.transport, self.flow, self.scheme = transport, FlowControl(transport), "http"
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._deadline is not None:
            self._head += len(data)
        super().data_received(data)
        if self._deadline is not None and self._head > _HEAD_BYTES:
            self.transport.abort()
        elif self.transport.is_closing():
            self._see_off()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if self._deadline is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop()
        self._let_wait()
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn's never keeps the connection
        """The client has closed its half of the connection. A request that came in full is still answered."""
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_complete:  # type: ignore[redundant-expr]  # None at first
            self._see_off()
            return None
        cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        """The socket's buffer is full of an answer that the client does not read."""
        super().pause_writing()
        if self._stall is None:
            self._expect_taking()

    def resume_writing(self) -> None:
        """The client has read most of it."""
        if not self.transport.is_closing():
            self._let_wait()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """All of an answer is written."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._see_off()

    def timeout_keep_alive_handler(self) -> None:
        """An idle connection has reached its limit and closes."""
        super().timeout_keep_alive_handler()
        self._see_off()

    def _expect_head(self) -> None:
        self._head = 0
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _see_off(self) -> None:
        """A closing connection lasts until its client has read the rest of the answer: set a limit to that, too."""
        if self._stall is None and self.transport.get_write_buffer_size():
            self._expect_taking()

    def _expect_taking(self) -> None:
        self._stall = self.loop.call_later(TAKE_SECONDS, self._judge, self.transport.get_write_buffer_size())

    def _judge(self, waited: int) -> None:
        if self.transport.get_write_buffer_size() < waited:
            self._expect_taking()
        else:
            self.transport.abort()

    def _let_wait(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
