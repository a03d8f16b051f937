"""What the settings of a store may say. Each function gives the value, or raises `ValueError` with what is wrong."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_ACCESS_POINT = r"arn:[a-z-]+:s3(?:-outposts)?:[a-z0-9-]+:\d+:(?:accesspoint|outpost)[/:][!-~]+"
#: Source: the S3 API reference, "Bucket naming rules", as wide as the oldest buckets; or the ARN of an access point.
_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}|" + _ACCESS_POINT)
#: What the client library takes for a host: letters, digits and hyphens between dots.
_HOST = re.compile(r"(?:(?!-)[a-z0-9-]{1,63}(?<!-)\.)*(?!-)[a-z0-9-]{1,63}(?<!-)\.?|[0-9a-f:.]+(?:%.+)?")
_REGION = re.compile(r"[A-Za-z0-9-]{1,63}")
_HEADER = re.compile(r"[ -~]*")
#: Buckets that are none of the usual kind, by their names.
_OTHER_KINDS = (
    (r".*--x-s3", "can't be a directory bucket (S3 Express): those are spoken to in another way"),
    (r"arn:[^:]*:s3::[^:]*:accesspoint.*", "can't be a multi-region access point: that wants SigV4A; name a region's"),
    (r"arn:[^:]*:s3-object-lambda:.*", "can't be an Object Lambda access point: nothing is stored there"),
)  # fmt: skip
#: Addresses of stores at which their API is not, by the host.
_NO_API = (
    (r"(?:.+\.)?s3-website[.-].+", "is a website's: S3's own is https://s3.REGION.amazonaws.com"),
    (r".+\.cdn\.digitaloceanspaces\.com", "is a CDN's, for which nothing can be signed: leave out .cdn"),
    (r".+\.r2\.dev", "is a public bucket's: R2's API is at https://ACCOUNT.r2.cloudflarestorage.com"),
)
#: Classes out of which nothing can be read before somebody has asked for it hours ago.
COLD = frozenset({"GLACIER", "DEEP_ARCHIVE"})


def bucket(value: str) -> str:
    """The bare name of a bucket."""
    if other := next((words for pattern, words in _OTHER_KINDS if re.fullmatch(pattern, value)), None):
        raise ValueError(other)
    if not _BUCKET.fullmatch(value):
        raise ValueError(
            "must be the bare name of a bucket, 3 or more letters, digits, dots and hyphens, without s3:// and folders "
            "(S3_KEY_TEMPLATE names those), or the ARN of an access point"
        )
    return value


def region(value: str) -> str:
    """The name of a region."""
    if not _REGION.fullmatch(value):
        raise ValueError("must be a region's name, such as eu-west-1: letters, digits and hyphens")
    return value


def endpoint(value: str) -> str:
    """Where a store is, and nothing else: keys and questions are put behind it."""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an absolute http:// or https:// URL")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be scheme, host and port only: no user:password@ (S3_ACCESS_KEY_ID is for that), ? or #")
    if re.search(r"\s", value):
        raise ValueError("must hold no spaces")
    if not _HOST.fullmatch(parts.hostname):
        raise ValueError(
            f"must name a host by letters, digits and hyphens between dots, without underscores; found {parts.hostname}"
        )
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("must have a number up to 65535 for a port") from None
    if other := next((words for pattern, words in _NO_API if re.fullmatch(pattern, parts.hostname)), None):
        raise ValueError(f"can't be {parts.hostname}: that address {other}")
    return value.rstrip("/")


def storage_class(value: str) -> str:
    """A class whose objects can be read at once: they are, to be proven, linked to and verified."""
    if value.upper() in COLD:
        raise ValueError(
            f"can't be {value}: what is stored so can't be read back for its proof, nor opened by a link. GLACIER_IR "
            "can; or let a lifecycle rule of the bucket move old files there"
        )
    return value


def header(value: str) -> str:
    """What can be the value of a header."""
    if not _HEADER.fullmatch(value):
        raise ValueError("must be one line of plain ASCII: it is sent as a header")
    return value
