"""Sound, heard from its beginning to its end: it is little enough for all of it to be decoded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from io import SEEK_END
from typing import IO, Any

from av.error import FFmpegError

from infra.boxes import NotMedia

#: Of a file of these formats the library guesses from its size how long it lasts, unless one of the words below says.
_GUESSED = frozenset({"mp3", "aac"})
_SAID = (b"Xing", b"Info", b"VBRI")
#: Bytes at its beginning where they are looked for.
_HEAD = 2**16
#: Bytes of an Ogg page at most. Source: RFC 3533, 6.
_LONGEST_PAGE = 65_307
#: Who writes a WAV without knowing its length writes about the most that there is room for, or nothing.
_UNKNOWN = 0x7FFF0000


def heard(container: Any, stream: Any, alive: Callable[[], object]) -> float:
    """Seconds of `stream` that decode. `alive` is called now and then. Raises `NotMedia` where none does."""
    seconds = 0.0
    for packet in container.demux(stream):
        alive()
        with suppress(FFmpegError):  # a player goes on, too; what is missing then is missing in the sum
            seconds += sum(frame.samples / frame.sample_rate for frame in packet.decode())
    if not seconds:
        raise NotMedia("has no sound that decodes")
    return round(seconds, 3)


def says_its_length(file: IO[bytes] | Any, container: Any, *, told: bool) -> bool:
    """Whether how long the file lasts stands in it. Raises `NotMedia` where it is shorter than its head says, or where
    neither it nor, `told`, anybody else says where it ends.

    Moves in `file`, so to be asked when all was decoded.
    """
    file.seek(0)
    if container.format.name == "wav":
        _whole_riff(file)
    if container.format.name == "ogg":
        _whole_ogg(file, told=told)
    if container.format.name not in _GUESSED:
        return True
    head = file.read(_HEAD)
    return any(word in head for word in _SAID)


def _whole_riff(file: IO[bytes] | Any) -> None:
    """The library takes a WAV that was cut for a shorter one."""
    head = file.read(8)
    said = int.from_bytes(head[4:], "little")
    if head[:4] == b"RIFF" and said < _UNKNOWN and file.seek(0, SEEK_END) < said + len(head) - 1:  # a last byte may pad
        raise NotMedia("is shorter than it says: it was cut")


def _whole_ogg(file: IO[bytes] | Any, *, told: bool) -> None:
    """Pages are whole in themselves; the last one says that it is the last, though not every maker's does. Source: RFC
    3533, 6 (header type, 0x04).
    """
    file.seek(max(file.seek(0, SEEK_END) - 2 * _LONGEST_PAGE, 0))
    tail = file.read()
    at = tail.rfind(b"OggS\0")
    page = tail[at:] if at >= 0 else b""
    table = page[27 : 27 + page[26]] if len(page) > 27 else b""
    if not table or len(page) < 27 + len(table) + sum(table) or not (told or page[5] & 4):
        raise NotMedia("has no last page: it was cut")
