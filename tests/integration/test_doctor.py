"""`reelhook doctor` on real buckets, sound ones and ones that are wrong in each of the ways that it has words for."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any

import botocore.auth
import pytest
from pydantic import SecretStr

from infra.object_store import ObjectStore
from infra.settings import Settings
from infra.stack.servers import Servers
from tests.conftest import environment_for
from tests.integration.stores_kit import examined, other_store, over_tls
from tests.s3_gate import Gate
from webhook import examination


def test_a_healthy_bucket_passes(settings: Settings, bucket: ObjectStore) -> None:
    """Everything that is needed works, and nothing stays behind; a missing lifecycle rule is a note only."""
    before = bucket.keys(""), bucket.pending()
    findings = examined(settings)

    tried = [
        "write",
        "read",
        "clock",
        "create only",
        "copy onto itself",
        "write in parts",
        "presigned link",
        "private",
        "end an upload",
        "list",
        "list uploads",
        "delete",
        "lifecycle rule",
        "versions",
    ]
    assert dict(zip(tried, [True] * 12 + [None, True], strict=True)) == {
        name: one.good for name, one in findings.items()
    }
    assert before == (bucket.keys(""), bucket.pending())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"s3_secret_access_key": SecretStr("wrong")}, "the secret does not belong to the access key"),
        ({"s3_bucket": "not-there"}, "there is no bucket of this name: make it, or look at S3_BUCKET and"),
        ({"s3_bucket": "s3://a b/c"}, "that is no possible name of a bucket"),
        ({"s3_endpoint_url": "nobody"}, "the store can't be reached: look at S3_ENDPOINT_URL"),
        ({"s3_sse": "AES256"}, "the store does not have this encryption: look at S3_SSE"),
        ({"s3_storage_class": "COLDEST"}, "the store does not have this class: look at S3_STORAGE_CLASS"),
    ],
)
def test_the_real_store_s_refusals_are_told_in_words(
    settings: Settings, changes: dict[str, Any], words: str, nobody: str
) -> None:
    """Wrong secret, bucket, region, address: what the embedded server says is told with the setting to look at."""
    if "s3_endpoint_url" in changes:
        changes = {"s3_endpoint_url": nobody}
    (finding,) = examined(settings, **changes).values()

    assert finding.good is False
    assert f"nothing can be stored: {words}" == finding.words[: 23 + len(words)]


def test_a_wrong_region_is_told(settings: Settings) -> None:
    """The client finds out by itself and asks again, each time; links that it makes don't open, so that is a fault."""
    found = examined(settings, s3_region="eu-west-9")

    assert ["presigned link"] == [name for name, one in found.items() if one.good is False]
    said = "files are archived, but links to them don't open: the region is wrong: set S3_REGION"
    assert found["presigned link"].words.startswith(said)


def other_time(monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    """A machine whose clock is so much fast."""
    now = botocore.auth.get_current_datetime  # type: ignore[attr-defined]  # the stubs leave it out
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *a: now(*a) + timedelta(minutes=minutes))
    monkeypatch.setattr(examination, "now", lambda: datetime.now(UTC) + timedelta(minutes=minutes))


@pytest.fixture(scope="module")
def rclone(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings on a store that knows two words for another time."""
    with other_store("rclone", settings, tmp_path_factory.mktemp("rclone")) as other:
        yield other


@pytest.mark.parametrize("store", ["settings", "rclone"])
@pytest.mark.parametrize(("minutes", "words"), [(-20, "20 minutes slow"), (20, "20 minutes fast")])
def test_a_clock_that_is_off_is_told(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, store: str, minutes: int, words: str
) -> None:
    """Real servers refuse such a machine's signatures, one of them as if a permission were missing; the doctor says
    why, and which way to turn the clock.
    """
    there = request.getfixturevalue(store)
    other_time(monkeypatch, minutes)
    (finding,) = examined(there).values()

    said = f"nothing can be stored: this machine's clock is {words}, by the store's: set it ("
    assert (False, said) == (finding.good, finding.words[: len(said)])


@pytest.mark.parametrize("store", ["settings", "rclone"])
@pytest.mark.parametrize(("minutes", "words"), [(-10, "10 minutes slow"), (2, "2 minutes fast")])
def test_a_clock_that_is_a_little_off_is_no_fault(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, store: str, minutes: int, words: str
) -> None:
    """What the store puts up with breaks nothing, links included; it is worth knowing."""
    there = request.getfixturevalue(store)
    other_time(monkeypatch, minutes)
    found = examined(there)

    assert [] == [name for name, one in found.items() if one.good is False]
    assert (None, True) == (found["clock"].good, found["clock"].words.endswith(f"{words}, by the store's: set it"))


def test_what_passes_until_the_store_answers_is_no_clock_that_is_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that takes two minutes to say what time it is there has the same time as this machine."""
    asked, behind = ObjectStore.clock, [timedelta(minutes=2)]

    def late(store: ObjectStore, key: str) -> datetime | None:
        behind[0] = timedelta(0)
        return asked(store, key)

    monkeypatch.setattr(ObjectStore, "clock", late)
    monkeypatch.setattr(examination, "now", lambda: datetime.now(UTC) - behind[0])

    assert examined(settings)["clock"].good


BREAKS = {
    "write": "nothing can be stored",
    "read": "nothing can be proven, so no job ends as archived",
    "write in parts": "files above 64 MiB, and those that come slowly or say no length, can't be stored",
}


@pytest.mark.parametrize(
    ("operation", "status", "code", "tried", "words"),
    [
        ("put", 403, "InvalidAccessKeyId", "write", "the store does not know this access key: look at S3_ACCESS_KEY"),
        ("put", 403, "AccessDenied", "write", "the key is not permitted to do this: it needs s3:PutObject ("),
        ("put", 301, "PermanentRedirect", "write", "the bucket is in another region: set S3_REGION"),
        ("put", 400, "AuthorizationHeaderMalformed", "write", "the region is wrong"),
        ("put", 400, "InvalidStorageClass", "write", "the store does not have this class: look at S3_STORAGE_CLASS"),
        ("put", 400, "XAmzContentSHA256Mismatch", "write", "the store refuses the newer checksums: set S3_CHECKSUMS"),
        ("head", 403, "", "read", "the key is not permitted to do this: it needs s3:GetObject ("),
        ("get", 403, "AccessDenied", "read", "the key is not permitted to do this: it needs s3:GetObject ("),
        ("begin", 501, "NotImplemented", "write in parts", "the store cannot do this"),
        ("part", 403, "AccessDenied", "write in parts", "the key is not permitted to do this: it needs s3:PutObject ("),
        ("complete", 403, "AccessDenied", "write in parts", "the key is not permitted to do this: it needs s3:PutObj"),
        ("put", 401, "Unauthorized", "write", "the store does not know this key: look at S3_ACCESS_KEY_ID"),
        ("put", 400, "ExpiredToken", "write", "the key was lent and has run out, or the token is another's: renew"),
        ("put", 400, "KMS.DisabledException", "write", "the KMS key can't be used: look at S3_SSE_KMS_KEY_ID"),
        ("put", 405, "MethodNotAllowed", "write", "that is not asked of an S3 API: look whether S3_ENDPOINT_URL is"),
        ("put", 404, "404", "write", "nothing is there: look whether S3_ENDPOINT_URL is the store's own address"),
        ("put", 403, "QuotaExceeded", "write", "the store has no more room for us: look at the plan's limits"),
        ("put", 403, "AllAccessDisabled", "write", "the store has stopped the account: look at its bills"),
        ("get", 403, "InvalidObjectState", "read", "what is stored can't be read at once: S3_STORAGE_CLASS, or"),
        ("put", 400, "SomethingNew", "write", "S3 put: SomethingNew"),
    ],
)
def test_each_refusal_is_told_in_words(
    settings: Settings, gate: Gate, bucket: ObjectStore, operation: str, status: int, code: str, tried: str, words: str
) -> None:
    """Whatever a store refuses, the doctor says what was tried and what the refusal means; a new word as it is."""
    before = bucket.keys(""), bucket.pending()
    gate.refuse(operation, status, code)
    found = examined(settings, s3_endpoint_url=gate.url)

    assert found[tried].good is False
    assert f"{BREAKS[tried]}: {words}" == found[tried].words[: len(BREAKS[tried]) + 2 + len(words)]
    assert before == (bucket.keys(""), bucket.pending())


@pytest.mark.parametrize(
    ("operation", "tried", "needs", "missing"),
    [
        ("abort", "end an upload", "s3:AbortMultipartUpload", "parts of files that are given up stay until a"),
        ("list", "list", "s3:ListBucket", "the store can't say of an object that it is not there"),
        ("list uploads", "list uploads", "s3:ListBucketMultipartUploads", "uploads that a killed worker began stay"),
        ("delete", "delete", "s3:DeleteObject", "what came and did not hold stays in the bucket"),
    ],
)
def test_what_archiving_does_without_is_no_fault(
    settings: Settings, gate: Gate, bucket: ObjectStore, operation: str, tried: str, needs: str, missing: str
) -> None:
    """The doctor says that archiving works, what does not, which permission that takes, and what it leaves."""
    gate.refuse(operation, 403, "AccessDenied")
    gate.refuse("delete version", 403, "AccessDenied")
    found = examined(settings, s3_endpoint_url=gate.url)

    assert [] == [name for name, one in found.items() if one.good is False]
    assert found[tried].good is None
    assert found[tried].words.startswith(f"archiving works; {missing}")
    assert f": the key is not permitted to do this: it needs {needs} (" in found[tried].words
    left = bucket.keys("kling/reelhook-doctor-")
    assert [f"this examination's object {key}: remove it by hand" for key in left] == [
        one.words for name, one in found.items() if name == "left behind"
    ]
    assert (operation == "delete") == bool(left)
    for key in left:
        bucket.delete(key)
    for one in bucket.pending("kling/reelhook-doctor-"):
        bucket.abort(one.key, one.upload_id)


@pytest.mark.parametrize(
    ("code", "good", "words"),
    [
        ("NotImplemented", None, "archiving works; a worker that stood still past its lease could write over what"),
        ("OddCondition", False, "files can't be stored: S3 put: OddCondition"),
    ],
)
def test_a_store_without_conditions_is_told(
    settings: Settings, gate: Gate, *, code: str, good: bool | None, words: str
) -> None:
    """Files are stored only where nothing is: a store that knows no such condition is asked without, where it says so
    in a word that is known; with another word nothing could be stored, though all else works.
    """
    gate.refuse("put", 400, code, when=lambda said: "If-None-Match" in said)
    found = examined(settings, s3_endpoint_url=gate.url)

    assert found["write"].good
    assert (good, words) == (found["create only"].good, found["create only"].words[: len(words)])


def test_a_store_that_refuses_newer_checksums_is_told_apart(settings: Settings, gate: Gate) -> None:
    """With S3_CHECKSUMS=when_supported such a store refuses to be written to; as it is by itself, all is well."""
    message = "Unsupported header 'x-amz-checksum-crc32' received for this API call."
    newer = {"x-amz-sdk-checksum-algorithm", "x-amz-checksum-crc32", "x-amz-trailer"}
    gate.refuse(
        "put", 400, "InvalidArgument", message=message, when=lambda said: bool(newer & {n.lower() for n in said})
    )
    found = examined(settings, s3_endpoint_url=gate.url, s3_checksums="when_supported")

    assert "the store refuses the newer checksums: set S3_CHECKSUMS=when_required" in found["write"].words
    assert examined(settings, s3_endpoint_url=gate.url)["write"].good


@pytest.mark.parametrize(
    ("code", "message", "words"),
    [
        ("InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required with Object Lock parameters",
         "the bucket locks its objects and wants a checksum with each: set S3_CHECKSUMS=when_supported"),
        ("AccessDenied", "User: arn:aws:iam::1:user/x is not authorized to perform: kms:GenerateDataKey on it",
         "the key is not permitted to do this with the KMS key: it needs kms:GenerateDataKey and kms:Decrypt on it"),
        ("KMS.NotFoundException", "Key 'arn:aws:kms:eu-west-1:1:key/2' does not exist", "the KMS key can't be used"),
        ("NotImplemented", "Header 'x-amz-server-side-encryption' with value 'aws:kms' not implemented",
         "the store does not have this encryption: look at S3_SSE"),
        ("InvalidArgument", "Credential access key has length 20, should be 32",
         "the store does not know this access key: look at S3_ACCESS_KEY_ID"),
        ("AccessDenied", "Forbidden: No such key: GK31", "the store does not know this access key"),
        ("AccessDenied", "Transaction cap exceeded, see the Caps page", "the store has no more room for us"),
    ],
)  # fmt: skip
def test_what_a_store_says_beside_its_code_tells_more(
    settings: Settings, gate: Gate, code: str, message: str, words: str
) -> None:
    """The same code means several things, and to do the opposite of what one asks for would make it no better."""
    gate.refuse("put", 400, code, message=message)

    assert f"nothing can be stored: {words}" in examined(settings, s3_endpoint_url=gate.url)["write"].words


def test_a_certificate_that_nobody_vouches_for_is_told(settings: Settings, tmp_path: Path) -> None:
    """Over TLS by a private authority the doctor names the setting that takes its file."""
    with over_tls(settings, tmp_path) as (url, _):
        (finding,) = examined(settings, s3_endpoint_url=url).values()

    assert "its certificate is not trusted, or not for this name: AWS_CA_BUNDLE names a file" in finding.words


def test_a_port_that_speaks_no_tls_is_told(settings: Settings) -> None:
    """It is no question of certificates."""
    plain = str(settings.s3_endpoint_url).replace("http:", "https:")
    (finding,) = examined(settings, s3_endpoint_url=plain).values()

    assert "nothing can be stored: no TLS is spoken there: look at S3_ENDPOINT_URL" in finding.words


def test_a_website_is_no_store(settings: Settings, gate: Gate) -> None:
    """Who answers everything with 200 and a page is told apart from a store that can't be reached."""
    gate.refuse("put", 200, "", body=b"<!doctype html><title>Hello</title>")
    (finding,) = examined(settings, s3_endpoint_url=gate.url).values()

    assert "nothing can be stored: that is no answer of an S3 API: look whether S3_ENDPOINT_URL" in finding.words


def test_a_bucket_that_is_open_to_all_is_told(moto: Settings) -> None:
    """Files are private by default: where one opens without a signature, that is worth knowing."""
    finding = examined(moto)["private"]

    assert (None, True) == (finding.good, finding.words.startswith("whoever guesses a key reads the file: take public"))


@pytest.mark.usefixtures("engine")
def test_nobody_who_wants_to_end_waits_for_a_silent_store(servers: Servers, root: Path) -> None:
    """It would be asked for many minutes to take away what may be there. That something may be is said instead."""
    brief = "d = import_module('webhook.doctor'); d._TIDY_SECONDS = 0.2; d.doctor([])"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Popen(  # noqa: S603 - our own words
            [sys.executable, "-c", f"from importlib import import_module; {brief}"],
            cwd=root,
            env=environment_for(servers.addresses) | {"S3_ENDPOINT_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as asked:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(1)
                asked.send_signal(signal.SIGINT)
                try:
                    said, _ = asked.communicate(timeout=30)
                finally:
                    asked.kill()

    assert (128 + signal.SIGINT, True) == (asked.returncode, "may be left" in said)


def test_a_key_that_is_lent_is_told(settings: Settings) -> None:
    """It works now, and ends with all links that it has made."""
    finding = examined(settings, s3_session_token=SecretStr("lent"))["key"]

    assert (None, True) == (finding.good, finding.words.startswith("S3_SESSION_TOKEN: it is lent"))


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("engine")
def test_who_is_told_to_end_leaves_nothing_behind(
    command: Callable[..., Popen[str]], bucket: ObjectStore, gate: Gate, ending: signal.Signals
) -> None:
    """P7: Ctrl-C or SIGTERM, and then again, while an object comes in parts leaves neither the object nor an upload,
    and nothing is said.
    """
    with command("doctor", S3_ENDPOINT_URL=gate.url) as asked:

        def end(_: object) -> bool:
            asked.send_signal(ending)
            return False

        for operation in ("part", "abort", "delete"):
            gate.refuse(operation, 500, "", when=end)
        told, _ = asked.communicate(timeout=60)

    assert (128 + ending, "") == (asked.returncode, told)
    assert ([], []) == (bucket.keys("kling/reelhook-doctor-"), bucket.pending("kling/reelhook-doctor-"))


def test_a_busy_store_is_waited_for(settings: Settings, gate: Gate) -> None:
    """Two times 503 SlowDown are no fault: the client asks again."""
    gate.refuse("put", 503, "SlowDown", times=2)

    assert examined(settings, s3_endpoint_url=gate.url)["write"].good


def test_a_key_that_may_not_ask_for_versions_is_told(settings: Settings, gate: Gate) -> None:
    """That is a note, with the permission that it takes."""
    gate.refuse("versions", 403, "AccessDenied")
    finding = examined(settings, s3_endpoint_url=gate.url)["versions"]

    assert (None, True) == (finding.good, "it needs s3:GetBucketVersioning" in finding.words)
