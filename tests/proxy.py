"""A TCP proxy on loopback that fails when it is told to: what stands between us and a server breaks, the server not.

    with FaultProxy("127.0.0.1", port) as proxy:
        proxy.reset_after(5000)     # the connection that carries the 5000th byte from now is reset, once
        ...
        proxy.heal()

Bytes are counted over both directions and all connections, from the moment of the order. Every order takes the place
of the one before, and has taken effect when the call returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, Self

_CHUNK = 64 * 1024
#: Chunks under way in one direction: what the line holds, so that a delay costs latency and not throughput.
_UNDER_WAY = 256
When = Literal["before", "after"]
_RESET = struct.pack("ii", 1, 0)


@dataclass
class _Order:
    """What the line does with bytes."""

    kind: Literal["pass", "stall", "refuse", "blackhole"] = "pass"
    seconds: float = 0  #: by which every byte comes later, in each direction
    rate: float = 0  #: bytes a second of one direction of one connection; 0 is no limit
    left: int | None = None  #: bytes until a connection is cut; None is never
    cut: Literal["reset", "fin"] = "reset"
    between: int = 0  #: bytes from one cut to the next
    times: int = 0  #: cuts still to come


class FaultProxy:
    """The proxy. It listens while it is entered; leaving it closes every connection."""

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        self._upstream = (upstream_host, upstream_port)
        self._loop = asyncio.new_event_loop()
        self._order = _Order()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._lines: set[_Line] = set()
        self._traps: list[_Trap] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._place = socket.socket()  #: keeps the port while nobody listens there
        self.port = 0  #: where it listens, the same from start to end
        self.accepted = 0  #: connections taken since the start
        self.carried = 0  #: bytes passed on since the start, both directions together

    def __enter__(self) -> Self:
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port = self._place.getsockname()[1]
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._place.close()

    @property
    def url(self) -> str:
        """The address for an HTTP client."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """Connections open just now."""
        return len(self._lines)

    def reset_after(self, count: int, *, times: int = 1) -> None:
        """Reset (RST) the connection that carries the byte after `count` more, `times` times, `count` bytes apart."""
        self._obey(_Order(left=count, cut="reset", between=count, times=times))

    def fin_after(self, count: int, *, times: int = 1) -> None:
        """The same, but both sides see an orderly end (FIN)."""
        self._obey(_Order(left=count, cut="fin", between=count, times=times))

    def stall(self) -> None:
        """Take connections and pass nothing on. After `heal()` the bytes come after all."""
        self._obey(_Order(kind="stall"))

    def refuse(self) -> None:
        """Listen no more, and reset what is open."""
        self._obey(_Order(kind="refuse"))

    def blackhole(self) -> None:
        """Take connections and swallow what they say. `heal()` resets them: their bytes are gone."""
        self._obey(_Order(kind="blackhole"))

    def slow(self, bytes_per_second: float) -> None:
        """So fast and no faster, in each direction of each connection."""
        self._obey(_Order(rate=bytes_per_second))

    def delay(self, seconds: float) -> None:
        """Every byte comes so much later in each direction; a new connection waits for one round trip of it."""
        self._obey(_Order(seconds=seconds))

    def on(self, needle: bytes, act: Callable[[int], bool], *, when: When = "before") -> None:
        """Call `act` with the client's port whenever a request holds `needle`: a crash point, seen from the server.

        `before`: the request was not passed on. `after`: the server has answered, and the client has not heard it.
        Where `act` says that it did something, the connection is cut, else all goes its way.
        """
        self._traps.append(_Trap(needle, act, when))

    def off(self) -> None:
        """Forget what `on` was told."""
        self._traps.clear()

    def heal(self) -> None:
        """Pass everything on again."""
        self._obey(_Order())

    def drop(self) -> None:
        """Reset every open connection now; new ones are treated as before."""
        self._call(self._reset_all())

    # --- on the loop --------------------------------------------------------------------------------------------
    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _obey(self, order: _Order) -> None:
        self._call(self._take(order))

    async def _take(self, order: _Order) -> None:
        before, self._order = self._order, order
        if order.kind == "refuse":
            await self._stop_listening()
        if order.kind == "refuse" or before.kind == "blackhole":
            await self._reset_all()
        self._changed.set()
        self._changed = asyncio.Event()
        if order.kind != "refuse" and self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=512, reuse_port=True)

    async def _stop_listening(self) -> None:
        if self._server:
            self._server.close()
            self._server = None

    async def _reset_all(self) -> None:
        for line in list(self._lines):
            line.cut("reset")

    async def _end(self) -> None:
        await self._stop_listening()
        await self._reset_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = self._loop.create_task(self._join(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self._order.seconds * 2)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()
            return
        line = _Line((writer, far_writer))
        self._lines.add(line)
        try:
            await asyncio.gather(self._carry(reader, far_writer, line), self._carry(far_reader, writer, line))
        finally:
            self._lines.discard(line)
            line.cut("fin")

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: _Line) -> None:
        """One direction: what is read waits its time in a queue, then is passed on. A reset is passed on too."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)
        reading = asyncio.ensure_future(self._read(reader, queue, line))
        try:
            await self._push(queue, writer, line)
        except OSError:
            line.cut("reset")
        finally:
            reading.cancel()

    async def _read(self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]], line: _Line) -> None:
        try:
            while chunk := await reader.read(_CHUNK):
                await queue.put((self._loop.time() + self._order.seconds, chunk))
        except OSError:
            line.cut("reset")
        await queue.put((self._loop.time() + self._order.seconds, b""))

    async def _springs(self, chunk: bytes, line: _Line, *, asks: bool) -> bool:
        """Whether a trap took this chunk."""
        for trap in self._traps:
            if asks and trap.needle in chunk:
                line.caught = trap
            # That a server will take a body is no answer yet.
            if line.caught is trap and asks == (trap.when == "before") and not chunk.startswith(b"HTTP/1.1 100 "):
                line.caught = None
                if await self._loop.run_in_executor(None, trap.act, line.client_port):
                    line.cut("reset")
                    return True
        return False

    async def _push(self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, line: _Line) -> None:
        while True:
            due, chunk = await queue.get()
            await asyncio.sleep(max(due - self._loop.time(), 0))
            while self._order.kind == "stall":
                await self._changed.wait()
            if writer.is_closing():
                return
            if not chunk:
                writer.write_eof()
                return
            if self._traps and await self._springs(chunk, line, asks=writer is line.ends[1]):
                return
            if self._order.kind != "blackhole":
                await self._write(chunk, writer, line)

    async def _write(self, chunk: bytes, writer: asyncio.StreamWriter, line: _Line) -> None:
        order = self._order
        if order.left is not None and len(chunk) > order.left:
            head, order.times = chunk[: order.left], order.times - 1
            order.left = order.between if order.times > 0 else None
            self.carried += len(head)
            writer.write(head)
            line.cut(order.cut)
            return
        if order.left is not None:
            order.left -= len(chunk)
        self.carried += len(chunk)
        step = max(int(order.rate / 20), 1) if order.rate else len(chunk)
        for at in range(0, len(chunk), step):
            writer.write(chunk[at : at + step])
            await writer.drain()
            if order.rate:
                await self._pause(step / order.rate)

    async def _pause(self, seconds: float) -> None:
        """So long, or until another order comes."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)


@dataclass(eq=False)
class _Trap:
    """A request that something happens at."""

    needle: bytes
    act: Callable[[int], bool]
    when: When


@dataclass(eq=False)
class _Line:
    """The two sockets of one proxied connection."""

    ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    caught: _Trap | None = None  #: a request has gone by whose answer is waited for

    @property
    def client_port(self) -> int:
        """The port that the client speaks from."""
        port: int = self.ends[0].get_extra_info("peername")[1]
        return port

    def cut(self, how: Literal["reset", "fin"]) -> None:
        """End both, at once by RST, or after what was written by FIN."""
        for end in self.ends:
            if how == "fin":
                end.close()
                continue
            with contextlib.suppress(OSError):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.transport.abort()
