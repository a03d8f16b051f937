"""What a store's refusal means to the person who set it up, and what to do."""

from __future__ import annotations

from types import MappingProxyType

from infra.store_errors import StoreError

_REGION = "the region is wrong: set S3_REGION to the bucket's"
_MOVED = "the bucket is in another region: set S3_REGION, and S3_ENDPOINT_URL if it names one"
_DENIED = "the key is not permitted to do this"
_LENT = (
    "the key was lent and has run out, or the token is another's: renew it and S3_SESSION_TOKEN, or take one that lasts"
)
_STOPPED = "the store has stopped the account: look at its bills and messages"
_FULL = "the store has no more room for us: look at the plan's limits"
_CHECKSUMS = "the store refuses the newer checksums: set S3_CHECKSUMS=when_required"
_UNTRUSTED = (
    "its certificate is not trusted, or not for this name: AWS_CA_BUNDLE names a file of private authorities, "
    "S3_ADDRESSING_STYLE=path takes the bucket out of the host's name"
)
#: Source: the S3 API reference, "Error responses"; Cloudflare R2, "Error codes"; Backblaze B2, "S3-compatible API".
_BY_CODE = MappingProxyType(
    {
        "InvalidAccessKeyId": "the store does not know this access key: look at S3_ACCESS_KEY_ID",
        "SignatureDoesNotMatch": "the secret does not belong to the access key: look at S3_SECRET_ACCESS_KEY",
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
        "RequestTimeTooSkewed": "this machine's clock is more than 15 minutes off",
        "NoSuchBucket": "there is no such bucket: look at S3_BUCKET, or make it",
        "InvalidBucketName": "that is no possible name of a bucket: look at S3_BUCKET",
        "AccessDenied": _DENIED,
        "403": _DENIED,
        "MethodNotAllowed": "that is not asked of an S3 API: look whether S3_ENDPOINT_URL is a website's or a CDN's",
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
    ("kms.", "the KMS key can't be used: look at S3_SSE_KMS_KEY_ID, its region and whether it is enabled"),
    ("kms:", f"{_DENIED} with the KMS key: it needs kms:GenerateDataKey and kms:Decrypt on it"),
    ("server-side-encryption", "the store does not have this encryption: look at S3_SSE"),
    ("checksum", _CHECKSUMS),
    ("sslerror", _UNTRUSTED),
)  # fmt: skip


def words_for(fault: StoreError, needs: str) -> str:
    """What a store's refusal means, for a person. `needs`: the permissions for what was tried."""
    said = str(fault).lower()
    words = next((words for text, words in _BY_TEXT if text in said), None) or _BY_CODE.get(fault.code)
    if words == _DENIED:
        words = f"{_DENIED}: it needs {needs}"
    if words is None and not fault.code:
        words = "the store can't be reached: look at S3_ENDPOINT_URL and S3_ADDRESSING_STYLE"
    return f"{words} ({fault})" if words else str(fault)
