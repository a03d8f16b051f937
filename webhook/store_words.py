"""What a store's refusal means to the person who set it up, and what to do."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import MappingProxyType

from infra.store_errors import StoreError

_NO_KEY = "the store does not know this access key: look at S3_ACCESS_KEY_ID"
_UNMATCHED = (
    "the secret does not belong to the access key: look at S3_SECRET_ACCESS_KEY, and whether S3_ACCESS_KEY_ID is its"
)
_REGION = "the region is wrong: set S3_REGION to the bucket's"
_MOVED = "the bucket is in another region: set S3_REGION, and S3_ENDPOINT_URL if it names one"
_DENIED = "the key is not permitted to do this"
_LENT = (
    "the key was lent and has run out, or the token is another's: renew it and S3_SESSION_TOKEN, or take one that lasts"
)
_STOPPED = "the store has stopped the account: look at its bills and messages"
_NO_SSE = "the store does not have this encryption: look at S3_SSE"
_NO_NAME = "that is no possible name of a bucket: look at S3_BUCKET"
_FULL = "the store has no more room for us: look at the plan's limits"
_CHECKSUMS = "the store refuses the newer checksums: set S3_CHECKSUMS=when_required"
_UNTRUSTED = (
    "its certificate is not trusted, or not for this name: AWS_CA_BUNDLE names a file of private authorities, "
    "S3_ADDRESSING_STYLE=path takes the bucket out of the host's name"
)
_NO_TLS = "no TLS is spoken there: look at S3_ENDPOINT_URL, whether it is http:// or has another port"
_NO_STORE = "that is no answer of an S3 API: look whether S3_ENDPOINT_URL is a website's or a CDN's"
_SKEWED = "RequestTimeTooSkewed"
#: Source: the S3 API reference, "Error responses"; Cloudflare R2, "Error codes"; Backblaze B2, "S3-compatible API";
#: Garage's and MinIO's own sources.
_BY_CODE = MappingProxyType(
    {
        "InvalidAccessKeyId": _NO_KEY,
        "SignatureDoesNotMatch": _UNMATCHED,
        "Unauthorized": "the store does not know this key: look at S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY",
        "UnauthorizedAccess": "the store does not know this key: look at S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY",
        "ExpiredToken": _LENT,
        "InvalidToken": _LENT,
        "TokenRefreshRequired": _LENT,
        "AuthorizationHeaderMalformed": _REGION,
        "AuthorizationQueryParametersError": _REGION,
        "IllegalLocationConstraintException": _REGION,
        "PermanentRedirect": _MOVED,
        "301": _MOVED,
        "400": "the store gives no reason; most often S3_REGION is not the bucket's, or S3_SESSION_TOKEN has run out",
        "NoSuchBucket": "there is no bucket of this name: make it, or look at S3_BUCKET and the API keys' buckets",
        "InvalidBucketName": _NO_NAME,
        "AccessDenied": _DENIED,
        "403": _DENIED,
        "MethodNotAllowed": "that is not asked of an S3 API: look whether S3_ENDPOINT_URL is a website's or a CDN's",
        "404": "nothing is there: look whether S3_ENDPOINT_URL is the store's own address, without the bucket",
        "405": "that is not asked of an S3 API: look whether S3_ENDPOINT_URL is a website's or a CDN's",
        "InvalidStorageClass": "the store does not have this class: look at S3_STORAGE_CLASS",
        "InvalidObjectState": "what is stored can't be read at once: S3_STORAGE_CLASS, or the bucket's, is a cold one",
        "InvalidEncryptionAlgorithmError": "the store has no such encryption: look at S3_SSE",
        "NotImplemented": "the store cannot do this",
        "AccountProblem": _STOPPED,
        "AllAccessDisabled": _STOPPED,
        "NotSignedUp": _STOPPED,
        "UserSuspended": _STOPPED,
        "QuotaExceeded": _FULL,
        "InsufficientStorage": _FULL,
        "507": _FULL,
        "XMinioStorageFull": _FULL,
        "SlowDown": "the store asks to go slower; try again",
        "XAmzContentSHA256Mismatch": _CHECKSUMS,
        "MalformedTrailerError": _CHECKSUMS,
        "InvalidDigest": _CHECKSUMS,
        "BadDigest": _CHECKSUMS,
    }
)  # fmt: skip
#: What the words beside a code say more exactly than the code: the first that is among them.
_BY_TEXT = (
    ("object lock", "the bucket locks its objects and wants a checksum with each: set S3_CHECKSUMS=when_supported"),
    ("credential access key has length", _NO_KEY),  # R2
    ("forbidden: no such key", _NO_KEY),  # Garage
    ("forbidden: invalid signature", _UNMATCHED),
    ("cap exceeded", _FULL),  # B2
    ("paramvalidationerror", _NO_NAME),  # of the client library, before it asks anybody
    ("kms.", "the KMS key can't be used: look at S3_SSE_KMS_KEY_ID, its region and whether it is enabled"),
    ("kms:", f"{_DENIED} with the KMS key: it needs kms:GenerateDataKey and kms:Decrypt on it"),
    ("server-side-encryption", _NO_SSE),
    ("server-side encryption", _NO_SSE),
    ("server side encryption", _NO_SSE),
    ("checksum", _CHECKSUMS),
    ("wrong_version_number", _NO_TLS),
    ("record_layer_failure", _NO_TLS),
    ("sslerror", _UNTRUSTED),
    ("the answer says no ", _NO_STORE),
)  # fmt: skip


#: How stores say, under another code, that a request comes from another time.
_OTHER_TIME = (
    "difference between the request time", "request has expired", "not yet valid", "not valid yet", "date is too old",
    "date is in the future", "too skewed",
)  # fmt: skip
#: Clocks that are no more apart agree, as far as a store minds.
_AGREE = timedelta(minutes=1)


def clocks(ours: datetime, theirs: datetime | None) -> str | None:
    """How far this machine's clock is from a store's; None where they agree, or the store does not say."""
    if theirs is None or abs(ours - theirs) < _AGREE:
        return None
    minutes = round(abs(ours - theirs) / timedelta(minutes=1))
    way = "fast" if ours > theirs else "slow"
    return f"this machine's clock is {minutes} minute{'s' if minutes > 1 else ''} {way}, by the store's: set it"


def words_for(fault: StoreError, needs: str, now: datetime) -> str:
    """What a store's refusal means, for a person. `needs`: the permissions for what was tried. `now`: our clock."""
    said = str(fault).lower()
    if fault.code == _SKEWED or any(text in said for text in _OTHER_TIME):
        off = clocks(now, fault.at) or "this machine's clock is more than 15 minutes off the store's"
        return f"{off} ({fault})"
    words = next((words for text, words in _BY_TEXT if text in said), None) or _BY_CODE.get(fault.code)
    if words == _DENIED:
        words = f"{_DENIED}: it needs {needs}"
    if words is None and not fault.code:
        words = "the store can't be reached: look at S3_ENDPOINT_URL and S3_ADDRESSING_STYLE"
    return f"{words} ({fault})" if words else str(fault)
