"""S3: OpenStack Swift's, as one child process. Real signatures, expiry, multipart, ranges; data on disk."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.stack.kept import write_private
from infra.stack.places import place
from infra.stack.process import Child, StackError
from infra.stack.server import Server, plain_environment

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Swift's tempauth wants account:user.
ACCESS_KEY = "reelhook:door"
BUCKET = "reelhook"


def client(endpoint: str, access_key: str, secret_key: str) -> S3Client:
    """A client for the embedded server, or for any other that takes paths."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 2},
        ),
    )


class S3(Server):
    """The object store, with one bucket."""

    name = "s3"
    access_key = ACCESS_KEY
    bucket = BUCKET
    _client: Any = None

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def secret_key(self) -> str:
        """Made once for a state folder."""
        return self._kept.once("s3.secret_key", lambda: secrets.token_hex(20))

    def prepare(self) -> None:
        """Write the options. Raises `StackError` where Swift can't run."""
        if find_spec("swift") is None:
            raise StackError(
                "s3: the embedded S3 server (OpenStack Swift) is not installed; it has wheels for Linux only. "
                "Elsewhere use a bucket of your own: set STACK_S3_ENDPOINT_URL, STACK_S3_BUCKET, "
                "STACK_S3_ACCESS_KEY_ID and STACK_S3_SECRET_ACCESS_KEY to it."
            )
        self.home = self._choose_home()
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = {
            "home": str(self.home),
            "port": self.port,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "fast": self.fast,
        }
        write_private(self.home / "options.json", json.dumps(options))
        self._client = client(self.url, self.access_key, self.secret_key)

    def spawn(self) -> Child:
        """Start it."""
        return Child(
            self.name,
            [sys.executable, "-m", "infra.stack.s3_server", str(self.home / "options.json")],
            state=self.state,
            log=self.log,
            env=plain_environment(),
            stop_signal=self.stop_signal,
        )

    def answers(self) -> bool:
        """Whether our bucket is there, made now if it was not."""
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        try:
            self._client.create_bucket(Bucket=self.bucket)
        except ClientError as fault:
            return fault.response["Error"]["Code"] == "BucketAlreadyOwnedByYou"
        except BotoCoreError:
            return False
        return True

    def _choose_home(self) -> Path:
        """Swift keeps what it knows of an object in the file's extended attributes; not every /tmp has them."""
        if _has_attributes(self.state):
            return self.state / self.name
        elsewhere = place(self._kept, self.state, self.name)
        if _has_attributes(elsewhere):
            return elsewhere
        raise StackError(f"s3: neither {self.state} nor {elsewhere} is on a file system with user extended attributes")


def _has_attributes(folder: Path) -> bool:
    with tempfile.NamedTemporaryFile(dir=folder) as probe:
        try:
            os.setxattr(probe.fileno(), "user.reelhook", b"1")
        except OSError:
            return False
    return True
