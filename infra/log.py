"""Structured logs: one JSON object a line on stdout, with the ids that were bound, and never a secret.

Event names are short constants, data goes in keywords: `log.info("job.submitted", job=job_id)`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import structlog

#: Query strings carry signatures, userinfo carries passwords, callback paths carry tokens.
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
_CALLBACK_PATH = re.compile(r"(/callbacks/[^/\s]+/[^/\s]+/)[^/?\s\"']+")
_BEARER = re.compile(r"(?i)\bbearer\s+\S+")
_SECRET_NAMES = frozenset({"authorization", "token", "secret", "password", "api_key", "secret_key"})


def without_secrets(text: str) -> str:
    """`text` with the query and userinfo of URLs, callback tokens and bearer tokens taken out."""
    if text.isalnum():  # most values are words and ids
        return text
    text = _URL.sub(lambda match: _bare(match.group()), text)
    return _BEARER.sub("Bearer ***", _CALLBACK_PATH.sub(r"\1***", text))


def _bare(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "[unreadable URL]"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?***" if parts.query else "")


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {
        name: "***" if name in _SECRET_NAMES else without_secrets(value) if isinstance(value, str) else value
        for name, value in event.items()
    }


_JSON = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)


#: Made once: `json.dumps` would make one for each line.
_ENCODE = json.JSONEncoder(ensure_ascii=False, default=str).encode


class _Lines:
    """Writes to what stdout is then."""

    def __init__(self, *_: Any) -> None: ...

    def _write(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    debug = info = warning = error = critical = exception = _write


def configure(level: str = "INFO") -> None:
    """Send everything, also what libraries log, to stdout as JSON. To be called once a process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact,
    ]
    structlog.configure(
        # Not by way of the standard library's loggers, which costs more than all the rest of a line.
        processors=[*shared, _JSON],
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _JSON,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("botocore", "boto3", "urllib3", "s3transfer", "alembic", "kombu", "PIL", "libav", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module."""
    return structlog.stdlib.get_logger(name)


def line(event: str, **data: Any) -> None:
    """What `logger(...).info` writes, at a fraction of the cost: for what comes thousands of times a second."""
    if logging.getLogger().isEnabledFor(logging.INFO):
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        written = {**_redact(None, "", data), "event": event, "level": "info", "timestamp": at}
        sys.stdout.write(_ENCODE(written) + "\n")
        sys.stdout.flush()


def request_name(header: str) -> dict[str, str]:
    """What a line says of the request that its router named so in X-Request-ID: nothing where that is no name."""
    return {"request": header[:200]} if header[:1].isalnum() else {}


bind = structlog.contextvars.bind_contextvars
unbind = structlog.contextvars.clear_contextvars
#: As `bind`, for a block.
bound = structlog.contextvars.bound_contextvars
