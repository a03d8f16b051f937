"""A client of the S3 library for one store, told all that the settings say and nothing that this machine says."""

from __future__ import annotations

import os
from base64 import b64encode
from hashlib import md5
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.session import Session

from infra.s3_wire import ATTEMPTS
from infra.settings import Settings
from infra.stores import Dialect, dialect

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def make_client(settings: Settings, endpoint: str | None) -> S3Client:
    """A client of the store at `endpoint`. It is worth some MB and a second of CPU: one a process."""
    known = dialect(endpoint)
    checksums: Any = known.checksums if settings.s3_checksums == "auto" else settings.s3_checksums
    client: S3Client = boto3.session.Session(botocore_session=_alone()).client(
        "s3",
        endpoint_url=endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key_id.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_access_key.get_secret_value(),
        aws_session_token=settings.s3_session_token.get_secret_value() if settings.s3_session_token else None,
        verify=settings.store_authorities or True,
        config=Config(
            signature_version="s3v4",  # without it some regions presign by the old scheme
            # A signed payload is read twice: once to be hashed, once to be sent. Bodies here pass by once.
            s3={
                "addressing_style": _addressing(settings, known),
                "payload_signing_enabled": False,
                "use_accelerate_endpoint": False,
            },
            use_fips_endpoint=False,
            use_dualstack_endpoint=False,
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
            proxies={},  # none of HTTP_PROXY's, as for all other calls of ours
            # AWS_ENDPOINT_URL may be there for another store than ours.
            ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # the stubs don't know it yet
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            max_pool_connections=32,
            tcp_keepalive=True,
            # Both are worked out anew for each call otherwise: an eighth of what it costs. The types are checked here.
            user_agent="Reelhook boto3",
            parameter_validation=False,
        ),
    )
    client.meta.events.register("before-sign.s3.PutBucketLifecycleConfiguration", _with_md5)
    return client


def _alone() -> Session:
    """A session that reads no profile and no file of whoever runs it: what other tools are told is not meant for us."""
    nowhere = (None, None, os.devnull, None)
    return Session({"profile": (None, None, None, None), "config_file": nowhere, "credentials_file": nowhere})


def _addressing(settings: Settings, known: Dialect) -> Any:
    style = known.addressing if settings.s3_addressing_style == "auto" else settings.s3_addressing_style
    # No certificate holds for a host that has a bucket with dots in front of it.
    return "path" if style == "virtual" and "." in settings.s3_bucket else style


def _with_md5(request: Any, **_: Any) -> None:
    """The check sum that every store has asked for here since the beginning; the client sends a newer one instead."""
    if request.body:
        digest = md5(request.body, usedforsecurity=False).digest()
        request.headers["Content-MD5"] = b64encode(digest).decode()


def credentials(settings: Settings) -> Credentials:
    """What requests are signed with."""
    token = settings.s3_session_token.get_secret_value() if settings.s3_session_token else None
    key, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    return Credentials(key.get_secret_value(), secret.get_secret_value(), token)
