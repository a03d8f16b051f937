"""What can go wrong with Kling, as one small tree. Each class carries the decision that follows from it.

KlingError
├── CredentialsRefused         STOP_ACCOUNT     AuthenticationFailed 1000, AuthorizationMissing 1001,
│                                               AuthorizationInvalid 1002
├── TokenRefused               REAUTHENTICATE   TokenNotYetValid 1003, TokenExpired 1004
├── AccountStopped             STOP_ACCOUNT     AccountAbnormal 1100, AccountInArrears 1101, ResourcePackEmpty 1102,
│                                               AddressNotAllowed 1304
├── RequestRefused             NEVER            PermissionDenied 1103, InvalidParameters 1200, InvalidParameter 1201,
│                                               MethodInvalid 1202, ResourceMissing 1203, PolicyRefused 1300,
│                                               ContentRefused 1301
├── TooMuch                    WAIT             RateLimited 1302, ConcurrencyExceeded 1303
├── ServerTrouble              UNKNOWN_OUTCOME  ServerError 5000, Maintenance 5001, InternalTimeout 5002
└── MalformedAnswer            UNKNOWN_OUTCOME  an answer nobody can read

Beside the tree, because they are about our side: UnknownFamily, UnknownGateway, UnknownEdition, BadAccountUrl,
MalformedCallback, BadSignature, MalformedBody. Source of the codes: spec section 7 (official error-codes page).
"""

from __future__ import annotations

import enum
from typing import ClassVar

from worker.kling.redact import clean


class Retry(enum.Enum):
    """What to do after an error."""

    NEVER = "never"  #: the same request meets the same answer
    WAIT = "wait"  #: back off, then send again: nothing was created
    STOP_ACCOUNT = "stop-account"  #: no request of this account can succeed until a person acts
    REAUTHENTICATE = "reauthenticate"  #: once, with a new token
    UNKNOWN_OUTCOME = "unknown-outcome"  #: a create may have happened: look it up before anything is sent again
    LATER = "later"  #: a query may simply be repeated


class KlingError(Exception):
    """Kling, or a gateway before it, said no. `code` is Kling's number; None where only HTTP spoke."""

    retry: ClassVar[Retry] = Retry.NEVER

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        code: int | None = None,
        request_id: str | None = None,
        page: bool = False,
        wait: float = 0,
    ) -> None:
        self.message = clean(message)
        self.http_status = http_status
        self.code = code
        self.request_id = request_id
        self.page = page  #: whoever said it was not Kling, nor a gateway: it may have stood on the way back
        self.wait = wait  #: seconds for which it asks not to be asked
        super().__init__(self.message)

    def __str__(self) -> str:
        """The reason with what a support ticket needs, and nothing secret."""
        marks = [f"HTTP {self.http_status}" if self.http_status else "", f"code {self.code}" if self.code else ""]
        marks += [f"request {self.request_id}" if self.request_id else ""]
        return f"{self.message or type(self).__name__} ({', '.join(filter(None, marks)) or type(self).__name__})"


class CredentialsRefused(KlingError):
    """The credential is wrong, not the request."""

    retry = Retry.STOP_ACCOUNT


class AuthenticationFailed(CredentialsRefused):
    """1000."""


class AuthorizationMissing(CredentialsRefused):
    """1001: the Authorization header is empty."""


class AuthorizationInvalid(CredentialsRefused):
    """1002: the Authorization header cannot be used."""


class TokenRefused(KlingError):
    """The signed token's time is wrong."""

    retry = Retry.REAUTHENTICATE


class TokenNotYetValid(TokenRefused):
    """1003: before `nbf`; our clock is ahead."""


class TokenExpired(TokenRefused):
    """1004: after `exp`."""


class AccountStopped(KlingError):
    """HTTP 429 that no waiting heals."""

    retry = Retry.STOP_ACCOUNT


class AccountAbnormal(AccountStopped):
    """1100."""


class AccountInArrears(AccountStopped):
    """1101: postpaid, to be topped up."""


class ResourcePackEmpty(AccountStopped):
    """1102: prepaid pack used up or expired."""


class AddressNotAllowed(AccountStopped):
    """1304: our address is not on the account's allow-list."""


class RequestRefused(KlingError):
    """The request itself; sending it again changes nothing."""


class PermissionDenied(RequestRefused):
    """1103: the account may not use this API or model."""


class InvalidParameters(RequestRefused):
    """1200."""


class InvalidParameter(RequestRefused):
    """1201: a wrong key or an illegal value; the message says which."""


class MethodInvalid(RequestRefused):
    """1202."""


class ResourceMissing(RequestRefused):
    """1203, in Kling's own words: no such path, model or task. A 404 without them says only that something is not."""


class PolicyRefused(RequestRefused):
    """1300: platform policy."""


class ContentRefused(RequestRefused):
    """1301: content safety."""


class TooMuch(KlingError):
    """HTTP 429 that waiting does heal; nothing was created."""

    retry = Retry.WAIT


class RateLimited(TooMuch):
    """1302."""


class ConcurrencyExceeded(TooMuch):
    """1303: more running tasks than the pack allows."""


class ServerTrouble(KlingError):
    """Kling's own fault; a create may or may not have happened."""

    retry = Retry.UNKNOWN_OUTCOME


class ServerError(ServerTrouble):
    """5000."""


class Maintenance(ServerTrouble):
    """5001."""


class InternalTimeout(ServerTrouble):
    """5002."""


class MalformedAnswer(KlingError):
    """An answer that is not what any edition or gateway describes: HTML, half a body, no task in it.

    Whoever sent it, whatever its status: of a create it does not say whether Kling had it first.
    """

    retry = Retry.UNKNOWN_OUTCOME


class UnknownFamily(ValueError):
    """No family has that name, or several do; the text lists the known ones."""


class UnknownGateway(ValueError):
    """No gateway row has that name."""


class UnknownEdition(ValueError):
    """No edition of the reference has that name."""


class BadAccountUrl(ValueError):
    """A credential URL that cannot be used. The text never repeats any part of the URL."""


class MalformedBody(ValueError):
    """Bytes that are not one strict JSON value of sane depth."""


class MalformedCallback(ValueError):
    """A callback body that names no task."""


class BadSignature(ValueError):
    """A callback whose Standard-Webhooks signature is missing, wrong or too old."""


_BY_CODE: dict[int, type[KlingError]] = {
    1000: AuthenticationFailed,
    1001: AuthorizationMissing,
    1002: AuthorizationInvalid,
    1003: TokenNotYetValid,
    1004: TokenExpired,
    1100: AccountAbnormal,
    1101: AccountInArrears,
    1102: ResourcePackEmpty,
    1103: PermissionDenied,
    1200: InvalidParameters,
    1201: InvalidParameter,
    1202: MethodInvalid,
    1203: ResourceMissing,
    1300: PolicyRefused,
    1301: ContentRefused,
    1302: RateLimited,
    1303: ConcurrencyExceeded,
    1304: AddressNotAllowed,
    5000: ServerError,
    5001: Maintenance,
    5002: InternalTimeout,
}

_BY_HTTP: dict[int, type[KlingError]] = {
    401: AuthenticationFailed,
    402: AccountInArrears,
    403: PermissionDenied,
    405: MethodInvalid,
    408: InternalTimeout,
    425: RateLimited,
    429: RateLimited,
    503: Maintenance,
    504: InternalTimeout,
}

#: What something in between means by a status, whatever page comes with it: whom it lets through, and how often. Its
#: other refusals (403, 404, 409, 413) may come from anywhere, also on the way back.
_OF_ANYBODY = frozenset({401, 402, 408, 425, 429})


def error_class(code: int | None, http_status: int) -> type[KlingError]:
    """The class for an answer: Kling's number decides, HTTP only where the number is missing or new."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    if http_status in _BY_HTTP:
        return _BY_HTTP[http_status]
    if http_status >= 500:
        return ServerError
    return RequestRefused if 400 <= http_status < 500 else MalformedAnswer


def page_class(http_status: int) -> type[KlingError]:
    """The class for an answer in words that are not Kling's, nor a gateway's: only its status can be read."""
    return error_class(None, http_status) if http_status in _OF_ANYBODY or http_status >= 500 else MalformedAnswer
