"""Is it really there, and is it what was asked for? The bucket is read by an S3 client of the demo's own."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

import av
import requests
from PIL import Image

from infra.stack.demo_requests import Asked, Expected

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHUNK = 2**20
_LINK_SECONDS = 30.0
#: An encoder rounds to whole frames, and a sound track ends on a packet's border.
_SECONDS_OFF = 0.2
_RATIO_OFF = 0.02


class NotProven(Exception):
    """Something is not as it was reported or asked for; the text says what."""


@dataclass(frozen=True)
class Seen:
    """What a file is by our own measure."""

    sha256: str
    size: int
    seconds: float
    width: int
    height: int
    video_codec: str
    sound: bool
    frames: int


@dataclass(frozen=True)
class Proven:
    """One result file, read back and compared."""

    key: str
    seen: Seen
    url: str


def prove(job: dict[str, Any], asked: Asked, s3: S3Client, bucket: str) -> list[Proven]:
    """Read everything of an archived job back from the bucket. Raises `NotProven`."""
    _equal("state", "archived", job["state"])
    manifest = json.loads(_object(s3, bucket, job["manifest_key"]))
    in_manifest = {file["key"]: file["sha256"] for file in manifest["files"]}
    _equal("files in the manifest", in_manifest, {file["key"]: file["sha256"] for file in job["files"]})
    if not job["files"]:
        raise NotProven("it is archived without a file")
    return [_prove_file(file, asked.expected, s3, bucket) for file in job["files"]]


def check_link(url: str, sha256: str) -> None:
    """Download by the link alone, no key. Raises `NotProven` unless the bytes are the same."""
    with requests.get(url, stream=True, timeout=_LINK_SECONDS) as answer:
        _equal("status of the presigned link", 200, answer.status_code)
        _equal("SHA-256 by the presigned link", sha256, _copy(answer.iter_content(_CHUNK), None)[0])


def _prove_file(file: dict[str, Any], expected: Expected, s3: S3Client, bucket: str) -> Proven:
    key = file["key"]
    _equal(f"bucket of {key}", bucket, file["bucket"])
    with tempfile.TemporaryFile() as copy:
        body = s3.get_object(Bucket=bucket, Key=key)["Body"]
        sha256, size = _copy(body.iter_chunks(_CHUNK), copy)
        seen = _probe(copy, sha256, size)
    for name, ours in (("sha256", seen.sha256), ("size", seen.size), ("width", seen.width), ("height", seen.height)):
        _equal(f"{name} of {key}", ours, file[name])
    _equal(f"codec of {key}", seen.video_codec, file["video_codec"])
    _equal(f"sound in {key}", seen.sound, file["audio_codec"] is not None)
    _near(f"reported duration of {key}", seen.seconds, file["duration"], _SECONDS_OFF)
    _compare(key, seen, expected)
    with Image.open(BytesIO(_object(s3, bucket, file["poster_key"]))) as poster:
        poster.load()
        _near(f"ratio of the poster of {key}", seen.width / seen.height, poster.width / poster.height, _RATIO_OFF)
    with Image.open(BytesIO(_object(s3, bucket, file["sheet_key"]))) as sheet:
        sheet.load()
        _near(f"ratio of the contact sheet of {key}", seen.width / seen.height, sheet.width / sheet.height, _RATIO_OFF)
    return Proven(key, seen, file["url"])


def _compare(key: str, seen: Seen, expected: Expected) -> None:
    """With what was asked for."""
    _near(f"duration of {key}", expected.seconds, seen.seconds, _SECONDS_OFF)
    _near(f"ratio of {key}", expected.ratio, seen.width / seen.height, _RATIO_OFF)
    if expected.short_side:
        _equal(f"short side of {key}", expected.short_side, min(seen.width, seen.height))
    _equal(f"sound in {key}", expected.sound, seen.sound)
    if seen.frames < expected.seconds * 20:
        raise NotProven(f"{key} has {seen.frames} frames only")


def _object(s3: S3Client, bucket: str, key: str) -> bytes:
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        raise NotProven(f"{key} is not in the bucket") from None


def _copy(chunks: Iterator[bytes], to: IO[bytes] | None) -> tuple[str, int]:
    """SHA-256 and length of what passes by."""
    digest, size = hashlib.sha256(), 0
    keep: Callable[[bytes], object] = to.write if to else len
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        keep(chunk)
    return digest.hexdigest(), size


def _probe(file: IO[bytes], sha256: str, size: int) -> Seen:
    """Its media facts, every packet read and the first picture decoded."""
    file.seek(0)
    try:
        with av.open(file, "r") as container:
            video = container.streams.video[0]
            next(container.decode(video))
            container.seek(0)
            frames = sum(1 for packet in container.demux(video) if packet.size)
            seconds = float((video.duration or 0) * (video.time_base or 0))
            codec, sound = video.codec_context.name, bool(container.streams.audio)
            return Seen(sha256, size, seconds, video.width, video.height, codec, sound, frames)
    except (av.FFmpegError, IndexError, StopIteration) as fault:
        raise NotProven(f"a result is no film ({type(fault).__name__})") from fault


def _equal(what: str, expected: object, actual: object) -> None:
    if expected != actual:
        raise NotProven(f"{what}: {expected!r} expected, {actual!r} found")


def _near(what: str, expected: float, actual: float | None, off: float) -> None:
    if actual is None or abs(expected - actual) > off:
        raise NotProven(f"{what}: {expected:.3f} expected, {actual!r} found")
