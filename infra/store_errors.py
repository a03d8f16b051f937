"""What a store refuses, in one small tree: `StoreError`, with `UploadGone` and `Taken` below it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError as TransportError

#: How a store says that this key may not do something, or that nobody may. A HEAD has no body, so a number only.
_FORBIDDEN = frozenset({"AccessDenied", "403", "MethodNotAllowed", "405", "NotImplemented", "501"})


#: How it says that a request will never be taken as it is: by these settings, this key, or this bucket.
_LASTING = _FORBIDDEN | {
    "301", "AuthorizationHeaderMalformed", "EntityTooLarge", "ExpiredToken", "InvalidAccessKeyId", "InvalidArgument",
    "InvalidRequest", "InvalidStorageClass", "InvalidToken", "KeyTooLong", "KeyTooLongError", "MetadataTooLarge",
    "NoSuchBucket", "PermanentRedirect", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "AccountProblem",
    "AllAccessDisabled", "InvalidObjectState", "InvalidPayer", "InvalidSecurity", "NotSignedUp", "QuotaExceeded",
    "TokenRefreshRequired", "Unauthorized", "UnauthorizedAccess", "UserSuspended", "InvalidEncryptionAlgorithmError",
    "KMS.DisabledException", "KMS.InvalidKeyUsageException", "KMS.InvalidStateException",
    "KMS.KMSInvalidStateException", "KMS.NotFoundException",
}  # fmt: skip
#: How it says that the same may be taken a little later.
_PASSING = frozenset({
    "", "408", "429", "500", "502", "503", "504", "BandwidthLimitExceeded", "InternalError", "None", "OperationAborted",
    "PriorRequestNotComplete", "RequestLimitExceeded", "RequestThrottled", "RequestTimeout", "ServiceUnavailable",
    "SlowDown", "Throttling", "ThrottlingException", "TooManyRequestsException",
})  # fmt: skip
#: What it says of one object or upload, and would not say of every other.
_OF_ONE = frozenset({
    "404", "409", "412", "BadDigest", "ConditionalRequestConflict", "EntityTooLarge", "EntityTooSmall",
    "IncompleteBody", "InvalidArgument", "InvalidDigest", "InvalidPart", "InvalidPartOrder", "InvalidRange",
    "InvalidRequest", "KeyTooLong", "KeyTooLongError", "MetadataTooLarge", "NoSuchKey", "NoSuchUpload", "NotFound",
    "OperationAborted", "PreconditionFailed", "RequestTimeout", "XAmzContentSHA256Mismatch",
})  # fmt: skip
#: How it, or what stands before it, says that it takes no request of this length; that not all of one came, or nothing.
_TOO_LARGE = frozenset({"413", "EntityTooLarge"})
_BROKEN_OFF = frozenset({"", "504", "IncompleteBody", "RequestTimeout"})
#: What is asked beside the file, a removal just once: that it fails for now says nothing of what the bucket takes.
_ASIDE = frozenset({"copy", "delete"})
#: Why no TLS came about, in OpenSSL's word. What else the library says holds addresses.
_NO_TLS = re.compile(r"\[SSL: [A-Z0-9_]+\]")


class StoreError(Exception):
    """The store refused or could not be reached. The text names the operation and the store's code, no link."""

    code = ""  #: the store's own word for it, such as AccessDenied; empty where no answer came
    operation = ""  #: what was asked, such as put
    at: datetime | None = None  #: when that was by the store's clock, where it said

    @property
    def forbids(self) -> bool:
        """Whether the store does not let this key do that, now or later."""
        return self.code in _FORBIDDEN

    @property
    def lasts(self) -> bool:
        """Whether the same will be refused until a person changes something."""
        return self.code in _LASTING

    @property
    def passes(self) -> bool:
        """Whether the same may be taken a little later; of a word that nobody knows that is not said."""
        return self.code in _PASSING

    @property
    def is_of_length(self) -> bool:
        """Whether a shorter request might be taken."""
        return self.code in _TOO_LARGE

    @property
    def broke_off(self) -> bool:
        """Whether the connection broke, or brought less than was said, or a gateway waited for the answer in vain."""
        return self.code in _BROKEN_OFF

    @property
    def is_of_bucket(self) -> bool:
        """Whether other objects would fare no better there just now."""
        return self.code not in _OF_ONE

    @property
    def is_aside(self) -> bool:
        """Whether something failed for now that no file depends on."""
        return self.passes and self.operation in _ASIDE


class UploadGone(StoreError):
    """The multipart upload is not there any more: completed, aborted, or ended by a lifecycle rule."""


class Taken(StoreError):
    """There is an object under that key already."""


def clock_of(headers: Mapping[str, str]) -> datetime | None:
    """The time by the clock of whoever gave an answer with these headers; None where it says none that has a zone."""
    try:
        at = parsedate_to_datetime(next((value for name, value in headers.items() if name.lower() == "date"), ""))
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else None


class named:  # noqa: N801 - reads as a word in `with named("put"):`
    """Turns what the client library raises into `StoreError`."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        if isinstance(fault, ClientError):
            error = fault.response.get("Error", {})
            raised = UploadGone if error.get("Code") in {"NoSuchUpload", "InvalidPart"} else StoreError
            refusal = raised(f"S3 {self._operation}: {error.get('Code')} {error.get('Message')}")
            refusal.code, refusal.operation = str(error.get("Code", "")), self._operation
            refusal.at = clock_of(fault.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}))
            raise refusal from fault
        if isinstance(fault, BotoCoreError | TransportError | OSError):  # the last from a socket, past the libraries
            reason = _NO_TLS.search(str(fault))
            unheard = StoreError(f"S3 {self._operation}: {type(fault).__name__}{f' {reason[0]}' if reason else ''}")
            unheard.operation = self._operation
            raise unheard from fault
