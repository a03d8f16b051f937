"""Uvicorn's HTTP protocol, with an end to its patience: a request's head must come in time and within bounds, and its
answer must be fetched.

Uvicorn waits for ever for a head that has begun, keeps as many bytes of it as come, and holds an answer for a client
that takes none of it as long as that likes. To one that says no more but listens on, it gives none.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Seconds that a request's head may take to come, from the connection or from its first byte.
HEAD_SECONDS = 10.0
#: Seconds in which something of an answer must be taken of which more waits than the line holds, or which is the last.
TAKE_SECONDS = 30.0
#: Bytes of a head.
_HEAD_BYTES = 64 * 1024


class PatientProtocol(HttpToolsProtocol):
    """One connection."""

    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _head = 0  #: bytes that came while the head was not complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base class has it
        """A client came. As uvicorn does, but for asking the system seven times who is who: nobody here wants that."""
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
        """The client says no more. What it has asked for in full is answered: it may well listen."""
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_complete:  # type: ignore[redundant-expr]  # None at first
            self._see_off()
            return None
        cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        """More of an answer waits than the line holds."""
        super().pause_writing()
        if self._stall is None:
            self._expect_taking()

    def resume_writing(self) -> None:
        """It was taken, or all but a rest."""
        if not self.transport.is_closing():
            self._let_wait()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """All of an answer is written."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._see_off()

    def timeout_keep_alive_handler(self) -> None:
        """The client asks for nothing more."""
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
        """A connection closes behind what waits to be taken, however little that is."""
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
