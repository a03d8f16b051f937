"""Where the files of a job go in the bucket."""

from __future__ import annotations

import re
import string
from datetime import datetime
from hashlib import sha256

from worker.jobs.model import OTHER, Job

_ODD = re.compile(r"[^A-Za-z0-9._-]+")

EXTENSIONS = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/mp4": "m4a",
    "audio/webm": "weba",
    "audio/aac": "aac",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
}
#: What a field looks like in a key; a job's id is a ULID.
_STEP = r"[A-Za-z0-9._-]+"
_SHAPES = {"job": "[0-9a-hjkmnp-tv-z]{26}", "year": r"\d{4}", "month": r"\d\d", "day": r"\d\d", "ordinal": r"\d+"}
_ENDINGS = {*EXTENSIONS.values(), "bin"}
#: Characters of a field's own name, and of the hash of where it stands, in the name of what it links to.
_FIELD, _DIGEST = 9, 8


def file_name(kind: str, variant: str, ordinal: int) -> str:
    """`video-0`, or `video-0-watermarked`: one name for each output of a task. `other-cover_url-1f2e3d4c` of a field
    that nobody knows, by its place in the result: what else the result names may change, and numbers with it.
    """
    if kind == OTHER:
        field, digest = safe(variant.rpartition(".")[2])[:_FIELD], sha256(variant.encode()).hexdigest()[:_DIGEST]
        return f"{kind}-{field}-{digest}"
    return f"{kind}-{ordinal}" if variant == "original" else f"{kind}-{ordinal}-{safe(variant)}"


def file_key(template: str, job: Job, *, kind: str, variant: str, ordinal: int, content_type: str) -> str:
    """The key of a result file. Two jobs never share one: a template must name the job, the file and its ending."""
    return _render(
        template,
        job,
        kind=safe(kind),
        name=file_name(safe(kind), variant, ordinal),
        ordinal=ordinal,
        extension=EXTENSIONS.get(content_type, "bin"),
    )


def beside(key: str, name: str) -> str:
    """The key of a picture of the film under `key`: `name` is `poster` or `sheet`."""
    stem, dot, ending = key.rpartition(".")
    # A template may put the ending elsewhere: only one that is an ending is taken off.
    return f"{stem if dot and ending in _ENDINGS else key}.{name}.jpg"


def rest(key: str) -> str:
    """The key of what came of the file under `key` and is no part yet."""
    return f"{key}.rest"


def manifest_key(template: str, job: Job) -> str:
    """The key of the job's manifest: among its files, under the name `manifest`."""
    return _render(template, job, kind="manifest", name="manifest", ordinal=0, extension="json")


def pattern(template: str) -> re.Pattern[str]:
    """What the keys of all jobs look like, below whatever prefix; its group `job` is the job's id. Tells ours from
    others' where a bucket is shared.
    """
    parts, once = list(string.Formatter().parse(template)), {"job": f"(?P<job>{_SHAPES['job']})"}
    shapes = [(text, name and once.pop(name, _SHAPES.get(name, _STEP))) for text, name, _, _ in parts]
    return re.compile("(?:.*/)?" + "".join(re.escape(text) + (shape or "") for text, shape in shapes))


def download_name(job: Job, key: str) -> str:
    """What a browser calls the file under `key` when it saves it: the job's id and the file's name, ASCII."""
    return f"{safe(job.id)}-{safe(key.rpartition('/')[2])}"


def safe(text: str) -> str:
    """`text` as one step of a key: letters, digits, dot, underscore and hyphen, never `.` or `..`."""
    return _ODD.sub("-", text).strip(".") or "-"


def _render(template: str, job: Job, **fields: object) -> str:
    made: datetime = job.created_at
    before = f"{job.prefix}/" if job.prefix else ""
    return before + template.format(
        job=safe(job.id),
        family=safe(job.family.replace("/", "-")),
        caller=safe(job.caller),
        year=f"{made:%Y}",
        month=f"{made:%m}",
        day=f"{made:%d}",
        **fields,
    )
