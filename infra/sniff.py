"""What a file is, by its first bytes. Source: the WHATWG MIME Sniffing Standard, and each format's own."""

from __future__ import annotations

#: So many bytes are enough.
HEAD_BYTES = 64

_SIGNS = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (4, b"ftypqt  ", "video/quicktime"),
    (4, b"ftypM4A ", "audio/mp4"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypavis", "image/avif"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
)
#: Formats that hold sound alone as well as films.
_EITHER = {"video/mp4": "audio/mp4", "video/webm": "audio/webm"}


def sniff(head: bytes, kind: str | None) -> str | None:
    """The content type of a file of this kind (video, image, audio; None: any) that begins with `head`; None of no such
    one.
    """
    found = next((name for at, sign, name in _SIGNS if head[at : at + len(sign)] == sign), None) or _frames(head)
    if kind == "audio":
        found = _EITHER.get(found or "", found)
    return found if found and (kind is None or found.startswith(f"{kind}/")) else None


def _frames(head: bytes) -> str | None:
    """MPEG sound that begins with its first frame: eleven bits that are set, then a version and a layer."""
    if len(head) < 2 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    return "audio/mpeg" if head[1] & 0x06 else "audio/aac"
