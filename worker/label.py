"""What an object in the bucket says of itself: its type, its name for who saves it, and user metadata."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from infra.sniff import sniff
from worker.jobs import keys
from worker.jobs.model import OTHER, Job
from worker.kling.wire import Output

_BY_EXTENSION = {extension: kind for kind, extension in keys.EXTENSIONS.items()} | {"jpeg": "image/jpeg"}
_DEFAULT = {"video": "video/mp4", "image": "image/png", "audio": "audio/mpeg"}
#: Names of metadata that are looked at again.
JOB, SHA256 = "reelhook-job", "reelhook-sha256"


def content_type(output: Output, head: bytes = b"") -> str:
    """The media type of a file: by its first bytes, else by the ending of its link.

    The server's own `Content-Type` is not asked, as CDNs often say `application/octet-stream`. The ending counts only
    where it names the kind that Kling says the file is.
    """
    if found := sniff(head, None if output.kind == OTHER else output.kind):
        return found
    extension = urlsplit(output.url).path.rpartition(".")[2].lower()
    guess = _BY_EXTENSION.get(extension, "")
    return guess if guess.startswith(f"{output.kind}/") else _DEFAULT.get(output.kind, "application/octet-stream")


def label(job: Job, output: Output, key: str, kind: str, digest: str | None = None) -> dict[str, Any]:
    """What the file is stored with; with its SHA-256 where that is known. Metadata are sent before the first byte.
    `kind`: its content type.
    """
    return {
        "content_type": kind,
        "filename": keys.download_name(job, key),
        "metadata": _metadata(job, output.id, digest),
    }


def manifest_label(job: Job, key: str, digest: str) -> dict[str, Any]:
    """What the manifest is stored with."""
    return {
        "content_type": "application/json",
        "filename": keys.download_name(job, key),
        "metadata": _metadata(job, None, digest),
    }


def picture_label(job: Job, output: Output, key: str, digest: str) -> dict[str, Any]:
    """What a picture of the file is stored with."""
    return label(job, output, key, "image/jpeg", digest)


def _metadata(job: Job, output_id: str | None, digest: str | None) -> dict[str, str]:
    said = {
        JOB: job.id,
        "reelhook-task": job.provider_task_id,
        "reelhook-model": job.model,
        "reelhook-family": job.family.replace("/", "-"),
        "reelhook-output": output_id,
        SHA256: digest,
    }
    return {name: keys.safe(value) for name, value in said.items() if value}
