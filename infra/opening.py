"""The way into a file of film or sound: read as what its first bytes say, and as nothing else.

The library left to itself tries all formats that it knows. Some are lists of other files to open, or of ports to listen
at: whoever sends one in place of a film would have that done here.
"""

from __future__ import annotations

from typing import IO, Any

import av

from infra.boxes import NotMedia
from infra.room import LARGEST_FILM
from infra.sniff import HEAD_BYTES, sniff
from infra.tables import check_tables

_ISO = "mov,mp4,m4a,3gp,3g2,mj2"
#: The library's whole names of what is read, by content type: those that rows and manifests have always said.
_FORMATS = {
    "video/mp4": _ISO,
    "video/quicktime": _ISO,
    "audio/mp4": _ISO,
    "video/webm": "matroska,webm",
    "audio/mpeg": "mp3",
    "audio/aac": "aac",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
}
#: What every decoder is told: of a larger film it makes room for no picture.
LIMITS = {"max_pixels": str(LARGEST_FILM)}
#: Opening a film decodes pictures to learn what the index of an MP4 says, half as long as all else that is done to it.
_QUICK = {"skip_frame": "all", "probesize": "32", "analyzeduration": "1", **LIMITS}
#: Bytes of the head of an ID3 tag, which may stand before sound of any format. Source: id3.org, ID3v2.4.0, 3.1.
_TAG = 10


def opened(file: IO[bytes] | Any) -> Any:
    """The container, to be closed. Raises `NotMedia` of a format that is not read, and `FFmpegError`."""
    form = _format(file)
    if form == _ISO:
        check_tables(file)
    return (_quickly(file) if form == _ISO else None) or av.open(
        file, "r", format=form, metadata_errors="ignore", options=LIMITS
    )


def _format(file: IO[bytes] | Any) -> str:
    head = file.read(HEAD_BYTES)
    if head[:3] == b"ID3" and len(head) >= _TAG:
        file.seek(_TAG + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)))
        head = file.read(HEAD_BYTES) or head
        named = sniff(head, "audio") or "audio/mpeg"  # some pad their tag
    else:
        named = sniff(head, "video") or sniff(head, "audio") or ""
    file.seek(0)
    if named not in _FORMATS:
        raise NotMedia(f"does not begin as a file of any format that is read: {', '.join(_FORMATS)}")
    return _FORMATS[named]


def _quickly(file: IO[bytes] | Any) -> Any:
    """The container of an MP4 whose index says everything; None of any other."""
    container = av.open(file, "r", format=_ISO, metadata_errors="ignore", options=_QUICK)
    streams = [*container.streams.video, *container.streams.audio]
    if (
        streams
        and all(stream.duration for stream in streams)
        and all(one.average_rate for one in container.streams.video)
    ):
        return container
    container.close()
    file.seek(0)
    return None
