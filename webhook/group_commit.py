"""Callbacks that come while a write is under way share the next one: one statement, one commit, one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from infra.db import is_away
from worker.store.inbox import Arrival

#: Callbacks in one statement, and bytes in it unless a single body has more.
_AT_ONCE = 128
_BYTES_AT_ONCE = 2**20
#: Callbacks, and bytes of them, that may wait for their write. Beyond that the database can't keep up.
_WAITING = 2000
_BYTES_WAITING = 16 * 2**20
#: Seconds that the callbacks of a batch which was refused are written one by one; each may wait for a lock.
_APART_SECONDS = 10.0

Put = Callable[[Sequence[Arrival]], Sequence[bool | None]]
_Waiting = tuple[Arrival, asyncio.Future[bool | None]]


class Crowded(Exception):
    """Too many callbacks wait for the database already: this one was not stored."""


class GroupCommit:
    """Batches calls of `put` from one event loop into shared writes. A lone caller's write begins at once."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self._thread = ThreadPoolExecutor(1, "inbox")
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._writer: asyncio.Task[None] | None = None

    async def put(self, arrival: Arrival) -> bool | None:
        """What `Inbox.put` says of this one, once it is committed. Raises `Crowded`, or the database's error."""
        if len(self._waiting) >= _WAITING or self._bytes >= _BYTES_WAITING:
            raise Crowded
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[bool | None] = loop.create_future()
        self._waiting.append((arrival, stored))
        self._bytes += len(arrival.body)
        if self._writer is None:
            self._writer = loop.create_task(self._write())
        return await stored

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def _write(self) -> None:
        while self._waiting:
            await self._store(self._next())
        self._writer = None

    def _next(self) -> list[_Waiting]:
        size = count = 0
        for arrival, _ in self._waiting[:_AT_ONCE]:
            size += len(arrival.body)
            if count and size > _BYTES_AT_ONCE:
                size -= len(arrival.body)
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        self._bytes -= size
        return batch

    async def _store(self, batch: list[_Waiting]) -> None:
        """Write them together; where the database refuses that, one by one, so that none spoils the others' lot."""
        fault = await self._put_all(batch)
        if fault is not None and len(batch) > 1 and not is_away(fault):
            end = monotonic() + _APART_SECONDS
            while batch and monotonic() < end:
                one, batch = batch[:1], batch[1:]
                _tell(one, await self._put_all(one))
        _tell(batch, fault)

    async def _put_all(self, batch: list[_Waiting]) -> Exception | None:
        """Write them and wake their callers. On failure the fault is returned, and no caller has been told yet."""
        arrivals = [arrival for arrival, _ in batch]
        try:
            told = await asyncio.get_running_loop().run_in_executor(self._thread, self._put, arrivals)
        except Exception as fault:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            return fault
        for (_, stored), is_new in zip(batch, told, strict=True):
            if not stored.done():  # its caller may have gone
                stored.set_result(is_new)
        return None


def _tell(batch: list[_Waiting], fault: Exception | None) -> None:
    for _, stored in batch:
        if fault is not None and not stored.done():
            stored.set_exception(fault)
