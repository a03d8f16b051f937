"""PostgreSQL, Redis and S3 together, on one state folder."""

from __future__ import annotations

import fcntl
import os
import shutil
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from infra.stack import leftovers
from infra.stack.kept import Kept
from infra.stack.postgres import Postgres
from infra.stack.process import StackError
from infra.stack.redis import Redis
from infra.stack.s3 import S3
from infra.stack.s3_given import Bucket, GivenS3
from infra.stack.server import Server


@dataclass(frozen=True)
class Addresses:
    """Where the three are, with their credentials."""

    database_url: str
    redis_url: str
    s3_endpoint_url: str
    s3_access_key_id: str
    s3_secret_access_key: str
    s3_bucket: str

    @property
    def variables(self) -> dict[str, str]:
        """The settings that say so."""
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "S3_ENDPOINT_URL": self.s3_endpoint_url,
            "S3_ACCESS_KEY_ID": self.s3_access_key_id,
            "S3_SECRET_ACCESS_KEY": self.s3_secret_access_key,
            "S3_BUCKET": self.s3_bucket,
            "S3_ADDRESSING_STYLE": "path",
        }


class Servers:
    """The three servers, as a context or with `start()` and `stop()`. A second run on a folder finds its data again.

    `fast` leaves out what protects against a power cut: for tests. One process at a time may hold a state folder;
    what an earlier one left running there after a hard death is ended first.
    """

    def __init__(self, state: Path, *, fast: bool = False) -> None:
        self.state = state.resolve()
        self.state.mkdir(parents=True, exist_ok=True)
        # Others may pass through to what they own; each secret in it is a file of its own with mode 0600.
        self.state.chmod(0o711)
        self.kept = Kept(self.state / "kept.json")
        self.postgres = Postgres(self.state, self.kept, fast=fast)
        self.redis = Redis(self.state, self.kept, fast=fast)
        given = Bucket.of(os.environ)
        self.s3 = GivenS3(self.state, self.kept, given) if given else S3(self.state, self.kept, fast=fast)
        #: Started together and stopped together; whoever puts another one here before `start()` has it looked after.
        self.members: list[Server] = [self.postgres, self.redis, self.s3]
        self._lock: int | None = None

    @property
    def addresses(self) -> Addresses:
        """Valid after `start()`, and after each restart of a server unless its port was taken meanwhile."""
        return Addresses(
            database_url=self.postgres.url,
            redis_url=self.redis.url,
            s3_endpoint_url=self.s3.url,
            s3_access_key_id=self.s3.access_key,
            s3_secret_access_key=self.s3.secret_key,
            s3_bucket=self.s3.bucket,
        )

    def start(self) -> Self:
        """Start all at once and wait until they answer. When one fails, none stays. Raises `StackError`."""
        self._take_lock()
        try:
            leftovers.end_all(self.state)
            self._start_all()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all at once, waiting; harmless when none runs."""
        with ThreadPoolExecutor(len(self.members), "server-stop") as pool:
            stops = [pool.submit(server.stop) for server in self.members]
        self._release_lock()
        for stop in stops:
            stop.result()

    def discard(self) -> None:
        """Stop, and remove all that the state folder holds or has put elsewhere."""
        self.stop()
        for server in self.members:
            server.discard()
        shutil.rmtree(self.state, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start_all(self) -> None:
        with ThreadPoolExecutor(len(self.members), "server-start") as pool:
            starts = [pool.submit(server.start) for server in self.members]
            try:
                for start in starts:
                    start.result()
            finally:
                # After a signal's exception too: what is stopped while it starts would live on.
                wait(starts)

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        lock = os.open(self.state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StackError(f"another process uses the state folder {self.state} at this moment") from None
        self._lock = lock

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
