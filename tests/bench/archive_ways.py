"""The ways to copy that the archive is measured against, and the archive itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config

from infra.guard import Guard
from infra.heap import keep_freed
from infra.http import Http
from infra.object_store import ObjectStore
from infra.settings import load as load_settings
from tests.fakes import a_job
from worker.copier import Copier
from worker.jobs.transfer import Transfer
from worker.kling.wire import Output
from worker.label import SHA256
from worker.previews import Previews
from worker.tape import Held


@dataclass(frozen=True)
class Load:
    """What is to be copied, from where to where."""

    url: str
    count: int
    threads: int
    endpoint: str
    key: str
    secret: str
    bucket: str
    s3_group: int = 0  #: the process group of the S3 server, where its CPU can be asked for


#: Makes ready, and gives what copies number so and so.
Way = Callable[[Load], Callable[[int], None]]


class _Ledger:
    """A ledger that keeps nothing: bytes are measured here, rows with the latency."""

    def save(self, transfer: Transfer) -> None:
        """Nothing."""

    def drop(self, transfer: Transfer) -> None:
        """Nothing."""

    def restarted(self, transfer: Transfer) -> None:
        """Nothing."""

    def unsure(self, _fault: object) -> None:
        """Nobody else is here."""

    def alive(self) -> None:
        """Nothing."""


def _client(load: Load) -> Any:
    return boto3.client(
        "s3", endpoint_url=load.endpoint, region_name="us-east-1", aws_access_key_id=load.key,
        aws_secret_access_key=load.secret,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=32),
    )  # fmt: skip


class _Sized:
    """A body with a length: without one, `requests` would send it in chunks, which S3 does not take."""

    def __init__(self, source: requests.Response) -> None:
        self.len = int(source.headers["Content-Length"])
        self._pieces = source.iter_content(2**18)

    def read(self, _size: int = -1) -> bytes:
        """What came."""
        return next(self._pieces, b"")


def floor(load: Load) -> Callable[[int], None]:
    """One GET streamed into one presigned PUT, nothing looked at."""
    client = _client(load)

    def copy(number: int) -> None:
        where = {"Bucket": load.bucket, "Key": f"bench/{number}"}
        link = client.generate_presigned_url("put_object", Params=where)
        with requests.get(load.url, stream=True, timeout=60) as source:
            requests.put(link, data=_Sized(source), timeout=60).raise_for_status()

    return copy


def usual(load: Load) -> Callable[[int], None]:
    """`requests` into `upload_fileobj`, as it comes."""
    client = _client(load)

    def copy(number: int) -> None:
        with requests.get(load.url, stream=True, timeout=60) as source:
            client.upload_fileobj(source.raw, load.bucket, f"bench/{number}")

    return copy


def _rclone(load: Load, *flags: str) -> list[str]:
    remote = f":s3,provider=Other,endpoint='{load.endpoint}',access_key_id='{load.key}',secret_access_key={load.secret}"
    return [
        str(tool("rclone")),
        "--config",
        "",
        "copyurl",
        "--s3-no-check-bucket",
        *flags,
        f"{remote}:{load.bucket}/bench",
    ]


#: One PUT for each file, nothing hashed, no HEAD.
_BEST = ("--s3-no-head", "--s3-disable-checksum", "--s3-use-unsigned-payload=true", "--s3-upload-cutoff=5G")


def rclone_plain(load: Load) -> Callable[[int], None]:
    """`rclone copyurl` by its defaults, a process for each file."""
    return _rclone_each(load)


def rclone_each(load: Load) -> Callable[[int], None]:
    """`rclone copyurl` at its best here, a process for each file: what an app runs whose files come one at a time."""
    return _rclone_each(load, *_BEST)


def _rclone_each(load: Load, *flags: str) -> Callable[[int], None]:
    *command, folder = _rclone(load, *flags)

    def copy(number: int) -> None:
        subprocess.run([*command, load.url, f"{folder}/{number}"], check=True, capture_output=True)  # noqa: S603 - fixed

    return copy


def rclone(load: Load) -> Callable[[int], None]:
    """`rclone copyurl` at its best here: one process for all, which must be known when it starts."""
    *command, folder = _rclone(load, *_BEST, f"--transfers={load.threads}", "--urls")

    def copy(number: int) -> None:
        if number > 0:
            return  # the first one took them all
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as names:
            names.writelines(f"{load.url},{at}\n" for at in range(1 if number < 0 else load.count))
            names.flush()
            subprocess.run([*command, names.name, folder], check=True, capture_output=True)  # noqa: S603 - fixed

    return copy


def s5cmd(load: Load) -> Callable[[int], None]:
    """`requests` into the standard input of `s5cmd pipe`."""
    command = [str(tool("s5cmd")), "--endpoint-url", load.endpoint, "pipe", "--concurrency", "2"]
    keys = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": load.key,
        "AWS_SECRET_ACCESS_KEY": load.secret,
        "AWS_REGION": "us-east-1",
    }

    def copy(number: int) -> None:
        order = [*command, f"s3://{load.bucket}/bench/{number}"]
        with (
            requests.get(load.url, stream=True, timeout=60) as source,
            subprocess.Popen(order, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=keys) as ran,  # noqa: S603 - fixed
        ):
            assert ran.stdin is not None
            shutil.copyfileobj(source.raw, ran.stdin, 2**18)
            ran.stdin.close()
            if ran.wait():
                raise RuntimeError("s5cmd failed")

    return copy


def tool(name: str) -> Path | None:
    """A program beside this interpreter or on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    return Path(found) if found else None


def _copier(load: Load, previews: Previews) -> Copier:
    settings = load_settings(
        {
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1",
            "S3_ENDPOINT_URL": load.endpoint, "S3_ACCESS_KEY_ID": load.key, "S3_SECRET_ACCESS_KEY": load.secret,
            "S3_BUCKET": load.bucket, "S3_ADDRESSING_STYLE": "path", "KLING_URL": "kling://a:s@h",
            "PUBLIC_URL": "http://127.0.0.1:1", "SECRET_KEY": "x" * 32, "GUARD_ALLOW_CIDRS": "127.0.0.0/8",
        }
    )  # fmt: skip
    keep_freed()  # as the worker does for its copies
    http = Http(Guard(settings.guard_allow_cidrs))
    store = ObjectStore(settings)
    return Copier(http, store, settings.s3_key_template, 2**40, slowest=1000, slice_seconds=1000, previews=previews)


def ours(load: Load) -> Callable[[int], None]:
    """The archive: hash, structure, parts that can be resumed, HEAD, first and last frame, hash in the metadata."""
    return _archive(load, Previews(posters=False, sheets=False))


def pictures(load: Load) -> Callable[[int], None]:
    """The same as it is by default: with a poster and a contact sheet."""
    return _archive(load, Previews())


def _archive(load: Load, previews: Previews) -> Callable[[int], None]:
    copier, day = _copier(load, previews), datetime.now(UTC)

    def copy(number: int) -> None:
        job = a_job(id=f"job{number}-{os.getpid()}", created_at=day)  # children warm up with the same number
        output = Output("video", "original", 0, "1", load.url, None)
        copier.copy(job, output, None, _Ledger(), lambda *_: None, until=time.monotonic() + 1000)

    return copy


def least(load: Load) -> Callable[[int], None]:
    """What no proof of bytes does without, and nothing else: a small file is hashed and sent with its hash, and a HEAD
    has to say the same length and hash. By the archive's own connections, so the rest of its cost is what it looks at.
    """
    copier = _copier(load, Previews(posters=False, sheets=False))

    def copy(number: int) -> None:
        key, pieces, digest = f"bench/{number}-{os.getpid()}", list[bytes](), sha256()
        with copier.http.stream(load.url, {}, seconds=60) as stream:
            for piece in stream.chunks:
                digest.update(piece)
                pieces.append(piece)
        length, said = sum(map(len, pieces)), {SHA256: digest.hexdigest()}
        copier.bucket.put_stream(
            key, Held(pieces), length, content_type="video/mp4", filename="film.mp4", metadata=said
        )
        stored = copier.bucket.head(key)
        if stored is None or (stored.size, dict(stored.metadata)) != (length, said):
            raise RuntimeError("the bucket holds another file than was sent")

    return copy


WAYS: dict[str, Way] = {
    "floor": floor, "ours": ours, "pictures": pictures, "least": least, "usual": usual,
    "rclone": rclone, "rclone_each": rclone_each, "rclone_plain": rclone_plain, "s5cmd": s5cmd,
}  # fmt: skip
