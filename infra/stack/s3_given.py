"""A bucket of one's own instead of the embedded server: where Swift has no wheel, or to try another store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from botocore.exceptions import BotoCoreError, ClientError

from infra.stack.kept import Kept
from infra.stack.process import StackError
from infra.stack.s3 import S3, client

_VARIABLES = ("STACK_S3_ENDPOINT_URL", "STACK_S3_BUCKET", "STACK_S3_ACCESS_KEY_ID", "STACK_S3_SECRET_ACCESS_KEY")


@dataclass(frozen=True)
class Bucket:
    """Somebody's bucket and the keys to it."""

    endpoint: str
    name: str
    access_key: str
    secret_key: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self | None:
        """What the STACK_S3_* variables say; None unless all four are set.

        Not S3_*: a suite must not write into a bucket only because a shell had its keys.
        """
        values = [environment.get(name, "") for name in _VARIABLES]
        return cls(*values) if all(values) else None


class GivenS3(S3):
    """Looks like the embedded server, and starts nothing."""

    def __init__(self, state: Path, kept: Kept, bucket: Bucket) -> None:
        super().__init__(state, kept)
        self._given = bucket
        self.bucket = bucket.name
        self.access_key = bucket.access_key

    @property
    def url(self) -> str:
        """The endpoint."""
        return self._given.endpoint

    @property
    def secret_key(self) -> str:
        """As given."""
        return self._given.secret_key

    def start(self) -> None:
        """Make sure that the bucket is there and ours. Raises `StackError`."""
        try:
            client(self.url, self.access_key, self.secret_key).head_bucket(Bucket=self.bucket)
        except (ClientError, BotoCoreError) as fault:
            raise StackError(f"s3: the bucket {self.bucket} at {self.url} can't be used: {fault}") from fault
