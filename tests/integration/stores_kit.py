"""S3 servers of other make than the embedded one, as processes: moto and rclone; what the doctor says of them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.settings import Settings
from infra.stack.kept import free_port
from infra.stack.process import Child, wait_until
from infra.stack.s3 import client
from infra.stack.server import plain_environment
from tests.tls import make_certificate, tls_front
from webhook.examination import Finding, examine

KEY, SECRET, BUCKET = "another-store", "another-secret", "films"


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _command(kind: str, port: int, folder: Path) -> list[str]:
    if kind == "moto":
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    rclone = str(Path(sys.executable).with_name("rclone"))
    served = folder / "served"
    served.mkdir()
    return [rclone, "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{port}", str(served)]


@contextmanager
def other_store(kind: str, settings: Settings, folder: Path, **environment: str) -> Iterator[Settings]:
    """Settings on a server of this kind that has an empty bucket, with `environment` beside its own."""
    port = free_port()
    env = {**plain_environment(), **environment}
    child = Child(kind, _command(kind, port, folder), state=folder, log=folder / f"{kind}.log", env=env)
    try:
        assert wait_until(lambda: child.exit_code() is not None or _answers(port), 60), child.log.read_text()
        assert child.exit_code() is None, child.log.read_text()
        url = f"http://127.0.0.1:{port}"
        client(url, KEY, SECRET).create_bucket(Bucket=BUCKET)
        yield settings.model_copy(
            update={
                "s3_endpoint_url": url,
                "s3_bucket": BUCKET,
                "s3_access_key_id": type(settings.s3_access_key_id)(KEY),
                "s3_secret_access_key": type(settings.s3_secret_access_key)(SECRET),
            }
        )
    finally:
        child.end(2)


def examined(settings: Settings, **changes: Any) -> dict[str, Finding]:
    """What `reelhook doctor` finds with these settings, by what was tried."""
    return {one.tried: one for one in examine(settings.model_copy(update=changes))}


@contextmanager
def over_tls(settings: Settings, folder: Path) -> Iterator[tuple[str, str]]:
    """The store behind TLS: its address there, and the file of the one authority that vouches for it, in `folder`."""
    folder.mkdir(exist_ok=True)
    certificate = make_certificate(folder)
    with tls_front(certificate, urlsplit(settings.s3_endpoint_url or "").port or 0) as port:
        yield f"https://127.0.0.1:{port}", str(certificate)
