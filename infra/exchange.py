"""A request and its answer over a connected socket: HTTP/1.1, read by llhttp, the parser that Node has.

Written for calls that each have a connection of their own, where the usual libraries spend three quarters of a call's
CPU on what such a call has no use for.
"""

from __future__ import annotations

import errno
import re
import socket
import zlib
from collections import deque
from collections.abc import Callable, Mapping

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from urllib3 import HTTPHeaderDict

_CHUNK = 256 * 1024
#: Bytes that an answer may take before its body, and behind it: many times what servers allow a request.
_LONGEST_HEAD = 256 * 1024
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"[!-~]+")
_NOT_IN_A_VALUE = re.compile(r"[\r\n\0]")
#: Who answers before all of a body has come, and hangs up, is still heard.
_HUNG_UP = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE})
_WITH_A_BODY = frozenset({"POST", "PUT", "PATCH"})
#: By the name of an encoding: what zlib calls it.
_PACKED = {"gzip": zlib.MAX_WBITS | 32, "x-gzip": zlib.MAX_WBITS | 32, "deflate": zlib.MAX_WBITS}
#: A field that says how long a body is, and the line at which a head ends.
_LENGTH = re.compile(rb"^content-length[ \t]*:([^\r\n]*)\r?\n", re.IGNORECASE | re.MULTILINE)
_END = re.compile(rb"\n\r?\n")

#: Bytes by which zlib knows its own frame, and a gzip file its next member.
_FRAME_BYTES = 2
_MEMBER = b"\x1f\x8b"


class Broken(Exception):
    """What came is no answer, or not all of one."""


def written(method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """The head of a request. Raises `ValueError` where it would be another than it says."""
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target) or not _TARGET.fullmatch(host):
        raise ValueError("not a request")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    if body is not None or method in _WITH_A_BODY:
        lines.append(f"Content-Length: {len(body or b'')}")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or _NOT_IN_A_VALUE.search(value):
            raise ValueError("not a header")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def send(sock: socket.socket, head: bytes, body: bytes | None) -> None:
    """Send a request. Who hangs up meanwhile may have answered."""
    try:
        if body and len(body) < _CHUNK:
            head, body = head + body, None
        sock.sendall(head)
        if body:
            sock.sendall(body)
    except OSError as fault:
        if fault.errno not in _HUNG_UP:
            raise


class Reply:
    """An answer: its head is there, its body comes. `left` says how long to wait for bytes."""

    def __init__(self, sock: socket.socket, left: Callable[[], float], *, bodiless: bool) -> None:
        self.status = 0
        self.headers = HTTPHeaderDict()
        self._sock = sock
        self._left = left
        self._parser = _parser(self)
        self._said = b""  #: all that came, as long as there is no head
        self._stuck = False  #: whether the parser takes no more of it
        self._pieces: deque[bytes] = deque()
        self._headed = self._ended = False
        self._beside = 0  #: bytes since there was one of the body
        while not self._headed:
            self._more()
        self._ended = self._ended or bodiless
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        self._decoder = _Decoder(_PACKED[encoding]) if encoding in _PACKED else None

    def piece(self) -> bytes:
        """What comes next of the body, unpacked, about 256 KiB at most; none at its end."""
        while True:
            if self._decoder and (unpacked := self._decoder.next(_CHUNK)):
                return unpacked
            if self._pieces and not self._decoder:
                return self._pieces.popleft()
            if self._pieces and self._decoder:
                self._decoder.feed(self._pieces.popleft())
            elif self._ended and self._decoder and not self._decoder.whole:
                raise Broken("ends inside of what it packed")
            elif self._ended:
                return b""
            else:
                self._more()

    # --- what the parser calls ----------------------------------------------------------------------------------
    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of the head, or of what follows the body."""
        if not self._headed:
            # A NUL means a space, if anything (RFC 9110, 5.5), and no row can hold one.
            self.headers.add(name.decode("latin-1"), value.replace(b"\0", b" ").decode("latin-1"))

    def on_headers_complete(self) -> None:
        """The end of a head; of one that only says that another one comes, perhaps."""
        self.status = self._parser.get_status_code()
        self._headed = self.status >= 200
        if not self._headed:
            self.headers.clear()
        elif "Transfer-Encoding" in self.headers:  # which goes before it: RFC 9112, 6.3
            self.headers.discard("Content-Length")

    def on_body(self, piece: bytes) -> None:
        """Bytes."""
        self._pieces.append(piece)
        self._beside = 0

    def on_message_complete(self) -> None:
        """All has come."""
        self._ended = self._headed

    def _more(self) -> None:
        """Wait for bytes."""
        self._sock.settimeout(self._left())
        data = self._sock.recv(_CHUNK)
        if not data:
            self._hung_up()
        else:
            self._beside += len(data)
            try:
                self._feed(data)
            except (HttpParserError, HttpParserUpgrade) as fault:
                if not self._ended:  # what follows an answer is nobody's
                    raise Broken(type(fault).__name__) from None
            if self._beside > _LONGEST_HEAD and not self._ended:
                raise Broken("too long a head, or too much that is no body")

    def _feed(self, data: bytes) -> None:
        """Have it parsed. A head that the parser stops at is looked at once more when all of it is there."""
        if self._headed:
            self._parser.feed_data(data)
            return
        self._said += data
        if not self._stuck:
            try:
                self._parser.feed_data(data)
            except HttpParserError:
                if self.status >= 200 or not _LENGTH.search(self._said + b"\n"):
                    raise
                self._stuck = True
        if self._stuck and (said := _with_one_length(self._said)):
            self._parser = _parser(self)
            self.headers.clear()
            self._parser.feed_data(said)
        if self._headed:
            self._said = b""

    def _hung_up(self) -> None:
        """A body of which nobody said how long it is ends with its connection."""
        if not self._headed or "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            raise Broken("hung up")
        self._ended = True


def _parser(reply: Reply) -> HttpResponseParser:
    """One that puts up with what browsers and http.client put up with, too."""
    parser = HttpResponseParser(reply)
    parser.set_dangerous_leniencies(
        lenient_headers=True,
        lenient_optional_cr_before_lf=True,
        lenient_chunked_length=True,
        lenient_spaces_after_chunk_size=True,
    )
    return parser


def _with_one_length(said: bytes) -> bytes | None:
    """What a server said that gives one length several times, giving it once: RFC 9110, 8.6. None as long as its head
    has no end. Raises `Broken` where that is not what is wrong with it.
    """
    first = _LENGTH.search(said)
    end = _END.search(said, first.start()) if first else None
    if first is None or end is None:
        return None
    head = said[: end.start() + 1]
    fields = [one[1] for one in _LENGTH.finditer(head)]
    lengths = [length.strip(b" \t") for one in fields for length in one.split(b",")]
    if len(lengths) == 1 or len(set(lengths)) > 1 or not lengths[0].isdigit():
        raise Broken("no length, or several")
    return b"%bContent-Length: %b\r\n%b" % (_LENGTH.sub(b"", head), lengths[0], said[end.start() + 1 :])


class _Decoder:
    """Unpacks a body, never more than is asked for: a few bytes may stand for many."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._unpacked = zlib.decompressobj(bits)
        self._may_lack_its_frame = bits == zlib.MAX_WBITS
        self._packed = b""
        self._begun = False
        self._holds = False  #: whether there may be more of what was fed

    @property
    def whole(self) -> bool:
        """Whether what was fed ended where it says that it does."""
        return self._unpacked.eof or not self._begun

    def feed(self, packed: bytes) -> None:
        """Take what came, once all before was handed out."""
        self._begun = True
        self._packed += packed
        self._holds = len(self._packed) >= _FRAME_BYTES or not (self._may_lack_its_frame or self._unpacked.eof)

    def next(self, most: int) -> bytes:
        """What can be made of it, at most so many bytes; none when more must come first."""
        piece = b""
        while self._holds and not piece:
            piece = self._next(most)
        return piece

    def _next(self, most: int) -> bytes:
        if self._unpacked.eof and not self._goes_on():
            self._packed, self._holds = b"", False  # what follows is nobody's
            return b""
        try:
            piece = self._unpacked.decompress(self._packed, most)
        except zlib.error:
            if not self._may_lack_its_frame:
                raise
            self._unpacked = zlib.decompressobj(-zlib.MAX_WBITS)  # so some send what they call deflate
            piece = self._unpacked.decompress(self._packed, most)
        self._may_lack_its_frame = False
        ended = self._unpacked.eof
        self._packed = self._unpacked.unused_data if ended else self._unpacked.unconsumed_tail
        self._holds = len(self._packed) >= _FRAME_BYTES if ended else len(piece) == most
        return piece

    def _goes_on(self) -> bool:
        """Whether another member of a gzip file follows. Source: RFC 1952, 2.2."""
        if self._bits == zlib.MAX_WBITS or not self._packed.startswith(_MEMBER):
            return False
        self._unpacked = zlib.decompressobj(self._bits)
        return True
