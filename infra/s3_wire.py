"""The short way into a bucket, for what each job asks of it: store an object or a part, look at one, make a link.

For each call the client library works out anew what never changes: where the bucket is, how a request of this kind is
written, what its answer may hold. That is seven eighths of what a call costs. Here the library is asked once where a
bucket is; then a request is written down, signed by the library's own signer, and sent through its own connections, so
authorities, time limits and keep-alive are the client's. Rarer calls are left to the client itself.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlencode

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as Unreachable
from botocore.httpchecksum import apply_request_checksum, resolve_request_checksum_algorithm
from botocore.parsers import create_parser
from botocore.utils import percent_encode
from urllib3.response import HTTPResponse

#: Of a body that can be sent again.
ATTEMPTS = 4
#: Seconds before the second attempt at most, doubled before each other, as the library's `standard` mode has them:
#: after a refusal that asks for less, and after anything else.
_BUSY_SECONDS = 1.0
_BROKEN_SECONDS = 0.05
_BUSY_STATUS = 429
_BUSY_CODES = frozenset(
    {"SlowDown", "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException",
     "RequestLimitExceeded", "RequestThrottled", "BandwidthLimitExceeded", "PriorRequestNotComplete"}
)  # fmt: skip
_BROKEN_STATUS = frozenset({500, 502, 503, 504})
_BROKEN_CODES = frozenset({"RequestTimeout", "RequestTimeoutException"})
#: A chunk of a body that a checksum follows has to be so long at least, but for the last: 8 KiB, says AWS.
_LEAST_CHUNK = 2**16
#: An operation that is never meant: it is asked only to hear where the client would send it.
_UNASKED = "GetBucketVersioning"
_ELSEWHERE_STATUS = frozenset({301, 302, 307})
_ELSEWHERE_CODES = frozenset(
    {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"}
)


@dataclass(frozen=True)
class Place:
    """Where a bucket is."""

    url: str  #: without a key; ends with a slash
    region: str  #: that signatures are made for

    def of(self, key: str) -> str:
        """The address of an object."""
        return f"{self.url}{percent_encode(key, safe='/~')}"


@dataclass(frozen=True)
class Request:
    """What is asked of a bucket."""

    operation: str  #: as the service's model names it, such as PutObject
    method: str
    key: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None  #: bytes, or something with `read`; with a `seek` too it can be sent again
    length: int = 0  #: bytes of the body
    repeats: bool = True  #: whether the same may be asked twice

    @property
    def once(self) -> bool:
        """Whether it can be sent only once: its body passes by."""
        return not self.repeats or (hasattr(self.body, "read") and not hasattr(self.body, "seek"))


class Wire:
    """Calls to a store by one client's connections. Raises what the client raises."""

    def __init__(self, client: Any, credentials: Credentials) -> None:
        self._client = client
        self._credentials = credentials
        self._agent = {"User-Agent": client.meta.config.user_agent}
        self._http = client._endpoint.http_session  # noqa: SLF001 - the one part of a client without a public name
        self._models = client.meta.service_model.operation_model
        self._places: dict[str, Place] = {}
        self._moving = threading.Lock()
        client.meta.events.register(f"before-send.s3.{_UNASKED}", _tell_where)

    def ask(self, bucket: str, request: Request) -> AWSResponse:
        """The answer to `request`, tried again where that is of use, and at another place if the bucket is there."""
        for attempt in range(ATTEMPTS):
            last = request.once or attempt == ATTEMPTS - 1
            place = self._place(bucket)
            try:
                answer = self._sent(place, request)
                refusal = _refusal(answer, request)
                if refusal is None:
                    return answer
                seconds = _worth_waiting(refusal)
                if seconds is None and _is_elsewhere(refusal, request) and self._moved(bucket, place):
                    seconds = 0
                if last or seconds is None:
                    raise refusal
            except (HTTPClientError, Unreachable):
                if last:
                    raise
                seconds = _BROKEN_SECONDS
            time.sleep(random.random() * seconds * 2**attempt)  # noqa: S311 - spreads, hides nothing
        raise AssertionError("the last attempt returns or raises")

    def _sent(self, place: Place, request: Request) -> AWSResponse:
        if hasattr(request.body, "seek"):
            request.body.seek(0)
        url = place.of(request.key) + (f"?{urlencode(request.query)}" if request.query else "")
        written: dict[str, Any] = {"url": url, "headers": {**self._agent, **request.headers}, "body": request.body}
        written["context"] = {"client_config": self._client.meta.config}
        if request.body is not None:
            written["headers"]["Content-Length"] = str(request.length)
            self._add_checksum(written, request)
        unsent = AWSRequest(request.method, url, headers=written["headers"])
        unsent.context = written["context"]
        S3SigV4Auth(self._credentials, "s3", place.region).add_auth(unsent)
        headers: Any = dict(unsent.headers.items())
        # What its own way of preparing a request looks for, lengths and parameters, is known here.
        sent = AWSPreparedRequest(request.method, url, headers, written["body"], stream_output=False, context={})
        answer: AWSResponse = self._http.send(sent)
        return answer

    def _add_checksum(self, written: dict[str, Any], request: Request) -> None:
        """What the dialect wants: over TLS behind the body, else in a header, which a body that passes by has not."""
        if request.once and not written["url"].startswith("https:"):
            return
        resolve_request_checksum_algorithm(written, self._models(request.operation), {})
        algorithm = written["context"].get("checksum", {}).get("request_algorithm")
        if hasattr(request.body, "read") and algorithm and algorithm["in"] == "trailer":
            written["body"] = _Gathered(request.body)
        apply_request_checksum(written)

    def _place(self, bucket: str) -> Place:
        place = self._places.get(bucket)
        if place is None:
            # The client has an answer of ours to this, which says where it would have sent the question.
            told = self._client.get_bucket_versioning(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"]
            url = told["url"].partition("?")[0].rstrip("/")
            place = Place(f"{url}/", told["authorization"].split("/aws4_request")[0].split("/")[-2])
            self._places[bucket] = place
        return place

    def _moved(self, bucket: str, asked: Place) -> bool:
        """Whether the bucket is at another place than was asked: the client finds it when it asks for it itself."""
        with self._moving:  # of many threads that hear it at once, one asks
            if self._place(bucket) == asked:
                with suppress(ClientError):  # it learns from a refusal, if that has a body
                    self._client.list_objects_v2(Bucket=bucket, MaxKeys=1)
                self._places.pop(bucket, None)
            return self._place(bucket) != asked


class _Gathered:
    """A body in pieces that are long enough to be chunks. It can only be read, so nobody looks for its length."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int, /) -> Any:
        """The next bytes; fewer than a chunk needs only at the end."""
        piece = self._body.read(size)
        if not piece or len(piece) >= _LEAST_CHUNK:
            return piece
        gathered = bytearray(piece)
        while len(gathered) < _LEAST_CHUNK and (piece := self._body.read(size)):
            gathered += piece
        return bytes(gathered)


class Links:
    """Links that open an object. Made here, without asking anybody."""

    def __init__(self, client: Any, credentials: Credentials) -> None:
        self._client = client
        self._credentials = credentials
        self._places: dict[str, Place] = {}

    def make(self, bucket: str, key: str, seconds: int) -> str:
        """A link that lets anybody read the object for so long."""
        place = self._place(bucket)
        request = AWSRequest("GET", place.of(key))
        request.context = {"client_config": self._client.meta.config}
        S3SigV4QueryAuth(self._credentials, "s3", place.region, expires=seconds).add_auth(request)
        return str(request.url)

    def _place(self, bucket: str) -> Place:
        if bucket not in self._places:
            link = self._client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "x"})
            url, _, query = link.partition("?")
            scope = parse_qs(query)["X-Amz-Credential"][0]
            self._places[bucket] = Place(url.removesuffix("x"), scope.split("/")[-3])
        return self._places[bucket]


def _tell_where(request: Any, **_: Any) -> AWSResponse:
    said: Any = {"url": request.url, "authorization": request.headers["Authorization"].decode()}
    return AWSResponse(request.url, 200, said, HTTPResponse(BytesIO(), preload_content=False))


def _refusal(answer: AWSResponse, request: Request) -> ClientError | None:
    """What an answer refuses. One that says 200 and then that it failed is as good as a 500."""
    status = answer.status_code
    if status < 300:
        if b"<Error" not in answer.content:
            return None
        status = 500
    said = {"status_code": status, "headers": answer.headers, "body": answer.content, "context": {}}
    nothing: Any = None  # an error is read without knowing what the operation gives
    return ClientError(create_parser("rest-xml").parse(said, nothing), request.operation)


def _worth_waiting(refusal: ClientError) -> float | None:
    """Seconds after which the same may be answered otherwise; None where it will not."""
    status, code = refusal.response["ResponseMetadata"]["HTTPStatusCode"], refusal.response["Error"].get("Code")
    if status == _BUSY_STATUS or code in _BUSY_CODES:
        return _BUSY_SECONDS
    return _BROKEN_SECONDS if status in _BROKEN_STATUS or code in _BROKEN_CODES else None


def _is_elsewhere(refusal: ClientError, request: Request) -> bool:
    status = refusal.response["ResponseMetadata"]["HTTPStatusCode"]
    # Only a body could say of a 400 that the region is wrong, and a HEAD has none.
    return (
        status in _ELSEWHERE_STATUS
        or refusal.response["Error"].get("Code") in _ELSEWHERE_CODES
        or (request.method == "HEAD" and status == 400)
    )
