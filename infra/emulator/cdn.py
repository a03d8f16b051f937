"""Serves result files: ranges, validators, HEAD. No key is asked for; the path cannot be guessed."""

import re
from email.utils import formatdate
from pathlib import Path

from infra.emulator.wire import FilePart, Reply, Request, page
from infra.emulator.world import World

_TYPES = {
    ".mp4": "video/mp4", ".png": "image/png", ".jpg": "image/jpeg", ".mp3": "audio/mpeg", ".wav": "audio/wav",
}  # fmt: skip
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def serve(world: World, request: Request, key: str) -> Reply:
    """The file of `/cdn/<key>`, or the part of it that the request wants."""
    path = world.file(key)
    if path is None:
        return page(404, "Not Found")
    if request.method not in {"GET", "HEAD"}:
        return page(405, "Method Not Allowed")
    facts = path.stat()
    etag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
    headers = (
        ("Content-Type", _TYPES[path.suffix]), ("Accept-Ranges", "bytes"), ("ETag", etag),
        ("Last-Modified", formatdate(facts.st_mtime, usegmt=True)),
    )  # fmt: skip
    if request.headers.get("if-range", etag) != etag:
        return _whole(path, facts.st_size, headers)
    return _ranged(path, facts.st_size, headers, request.headers.get("range", ""))


def _whole(path: Path, size: int, headers: tuple[tuple[str, str], ...]) -> Reply:
    return Reply(200, headers, FilePart(path, 0, size))


def _ranged(path: Path, size: int, headers: tuple[tuple[str, str], ...], wanted: str) -> Reply:
    """One range is answered 206; several, or nonsense, get the whole, as RFC 9110 allows."""
    match = _RANGE.fullmatch(wanted)
    if not match or wanted == "bytes=-":
        return _whole(path, size, headers)
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start >= size or end < start:
        return Reply(416, (("Content-Range", f"bytes */{size}"),))
    headers = (*headers, ("Content-Range", f"bytes {start}-{end}/{size}"))
    return Reply(206, headers, FilePart(path, start, end - start + 1))
