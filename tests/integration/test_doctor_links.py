"""`reelhook doctor` and links: opened as their readers do, who may reach the store by another name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.settings import Settings
from tests.integration.stores_kit import examined, over_tls
from tests.s3_gate import Gate


@pytest.fixture
def private(settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """The embedded store behind TLS by an authority of its own."""
    with over_tls(settings, tmp_path) as (url, authority):
        yield settings.model_copy(update={"s3_endpoint_url": url, "s3_ca_bundle": authority})


def test_the_public_address_needs_not_be_known_to_the_store_s_authorities(
    settings: Settings, private: Settings, tmp_path: Path
) -> None:
    """AWS_CA_BUNDLE is for the store; who reads by S3_PUBLIC_ENDPOINT_URL believes the usual ones."""
    with over_tls(settings, tmp_path / "public") as (url, usual):
        found = examined(private.model_copy(update={"s3_public_endpoint_url": url, "ca_bundle": usual}))

    assert found["presigned link"].good
    assert "certificate" not in found


def test_links_that_only_some_can_open_are_told(private: Settings) -> None:
    """Where only AWS_CA_BUNDLE vouches for the links' host, that is worth knowing and no fault."""
    found = examined(private)

    assert found["presigned link"].good
    words = "links open for those only who believe the authorities that AWS_CA_BUNDLE names"
    assert (None, words) == (found["certificate"].good, found["certificate"].words)


def test_a_public_address_that_nobody_vouches_for_is_a_fault(
    settings: Settings, private: Settings, tmp_path: Path
) -> None:
    """Neither the usual authorities nor the store's know it."""
    with over_tls(settings, tmp_path / "stranger") as (url, _):
        found = examined(private.model_copy(update={"s3_public_endpoint_url": url}))

    said = "files are archived, but links to them don't open: the link's host can't be reached: "
    assert (False, said) == (found["presigned link"].good, found["presigned link"].words[: len(said)])


@pytest.mark.parametrize(
    ("status", "code", "body"),
    [(403, "SignatureDoesNotMatch", b""), (200, "", b"<!doctype html><title>Hello</title>")],
    ids=["a CDN that names another host to the store", "a website that answers everything"],
)
def test_a_public_address_that_is_not_the_store_s_is_a_fault(
    settings: Settings, gate: Gate, status: int, code: str, body: bytes
) -> None:
    """Its setting is named, neither the key nor a permission; nor is a page taken for the file."""
    gate.refuse("get", status, code, body=body)
    found = examined(settings, s3_public_endpoint_url=gate.url)

    assert ["presigned link"] == [name for name, one in found.items() if one.good is False]
    assert "S3_PUBLIC_ENDPOINT_URL leads to what is not the store" in found["presigned link"].words
    assert found["private"].good


def test_a_link_s_refusal_is_told_with_its_reason(settings: Settings, gate: Gate) -> None:
    """What the store says beside its code goes with the words."""
    gate.refuse("get", 403, "AccessDenied", message="explicit deny in a bucket policy")
    found = examined(settings, s3_public_endpoint_url=gate.url)

    said = "it needs s3:GetObject (a presigned link answers HTTP 403 explicit deny in a bucket policy)"
    assert found["presigned link"].words.endswith(said)


def test_a_link_s_host_that_fails_is_not_called_away(settings: Settings, gate: Gate) -> None:
    """It answered, without a word of S3's."""
    gate.refuse("get", 502, "", body=b"<h1>Bad gateway</h1>")
    found = examined(settings, s3_public_endpoint_url=gate.url)["presigned link"]

    assert (False, "files are archived, but links to them don't open: a presigned link answers HTTP 502") == (
        found.good,
        found.words,
    )


def test_nothing_is_said_of_strangers_where_nobody_answers(settings: Settings, nobody: str) -> None:
    """That links don't open is said once; whether the bucket is open to all is not known then."""
    found = examined(settings, s3_public_endpoint_url=nobody)

    assert (False, False) == (found["presigned link"].good, "private" in found)
