"""A file server on loopback that plays a provider's CDN: ranges, ETags, and what can be wrong with a link."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

#: Gives bytes `start` to `end` of a file.
Read = Callable[[int, int], bytes]
_PIECE = 2**20


@dataclass
class Tap:
    """Lets `most` bytes of each answer through, and no more of it before it is `opened`: a source that is as slow as a
    test wants it, however fast the machine is.
    """

    most: int
    opened: threading.Event = field(default_factory=threading.Event)


@dataclass
class File:
    """One file and how it is served."""

    size: int
    read: Read
    etag: str | None = '"1"'
    ranges: bool = True
    mute: bool = False  #: whether an answer to `Range` does not say what it is a part of
    most: int = 0  #: bytes of an answer to `Range`, where that is bounded
    says_length: bool = True
    claims: int = 0  #: bytes that its length is wrong by
    chunked: bool = False  #: whether it comes in chunks, where it does not say its length
    tap: Tap | None = None  #: what may let no more of it through
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "video/mp4"})
    path: Path | None = None  #: where it lies on disk; sent from there by the kernel
    asked: list[tuple[int, int]] = field(default_factory=list)  #: the first byte of each answer, and its status

    @classmethod
    def of(cls, body: bytes, **changes: Any) -> File:
        """A file of these bytes."""
        return cls(len(body), lambda start, end: body[start:end], **changes)


def film_of(film: bytes, size: int) -> File:
    """A real film made `size` bytes long by a box of zeros that players skip; none of it is kept in memory."""
    box = size - len(film)
    head = film + b"\0\0\0\1free" + box.to_bytes(8, "big")

    def read(start: int, end: int) -> bytes:
        body = head[start:end]
        return body + bytes(min(end, size) - start - len(body))

    return File(size, read)


def film_on_disk(path: Path, film: bytes, size: int) -> File:
    """The same as a file at `path`, so that serving it costs next to nothing."""
    made = film_of(film, size) if size > len(film) else File.of(film)
    with path.open("wb") as file:
        file.write(made.read(0, min(len(film) + 16, size)))
        file.truncate(size)
    return File(size, made.read, path=path)


@dataclass
class Origin:
    """What a test touches."""

    port: int
    files: dict[str, File] = field(default_factory=dict)

    def link(self, name: str, port: int | None = None) -> str:
        """The address of a file; through a proxy's `port` where one is given."""
        return f"http://127.0.0.1:{port or self.port}/{name}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    files: dict[str, File]

    def handle_error(self, *_: object) -> None:
        """Clients that go away are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Serve a file, or the part of it that was asked for."""
        file = self.server.files.get(self.path.partition("?")[0].strip("/").partition(".")[0])
        if file is None:
            self.send_error(404)
            return
        start = self._start(file)
        status = 206 if start else file.status
        file.asked.append((start, status))
        self.send_response(status)
        for name, value in self._headers(file, start):
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            self._send(file, start)

    def _start(self, file: File) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        wanted = self.headers.get("If-Range", file.etag)
        return int(match[1]) if match and file.ranges and wanted == file.etag else 0

    def _headers(self, file: File, start: int) -> Iterator[tuple[str, str]]:
        yield from file.headers.items()
        if file.etag and not (start and file.mute):
            yield "ETag", file.etag
        if file.says_length:
            yield "Content-Length", str(_end(file, start) + file.claims - start)
            self.close_connection = file.claims > 0  # or who waits for the rest would wait long
        elif file.chunked:
            yield "Transfer-Encoding", "chunked"
        else:
            self.close_connection = True
            yield "Connection", "close"
        if start:
            yield "Content-Range", f"bytes {start}-{_end(file, start) - 1}/{file.size}"

    def _send(self, file: File, start: int) -> None:
        if file.path:
            with file.path.open("rb") as opened:
                self.wfile.flush()
                self.connection.sendfile(opened, start)
            return
        in_chunks = file.chunked and not file.says_length
        end = _end(file, start)
        if file.tap and not file.tap.opened.is_set():
            most = min(start + file.tap.most, end)
            self.wfile.write(file.read(start, most))
            file.tap.opened.wait()
            start = most
        for at in range(start, end, _PIECE):
            piece = file.read(at, min(at + _PIECE, end))
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if in_chunks else piece)
        if in_chunks:
            self.wfile.write(b"0\r\n\r\n")


def _end(file: File, start: int) -> int:
    """The byte before which an answer ends that begins with byte `start`."""
    return min(start + file.most, file.size) if start and file.most else file.size


@contextmanager
def origin(**files: File) -> Iterator[Origin]:
    """An origin that serves `files` by their names."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.files = dict(files)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield Origin(server.server_port, server.files)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
