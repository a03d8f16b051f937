from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from tests.standard import verified
from worker.jobs import signing
from worker.jobs.signing import Signing

#: A pair of the specification's own form, made once by another implementation (RFC 8032, test 1).
PRIVATE = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
PUBLIC = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


@given(st.text(max_size=200), st.lists(st.sampled_from(Signing), min_size=1, max_size=3))
def test_every_key_s_signature_verifies(body: str, kinds: list[Signing]) -> None:
    """Each of several keys signs any body, and a verifier that shares no code with the signer takes each of them."""
    keys = [signing.new_secret(kind) for kind in kinds]
    headers = signing.headers(keys, "msg_1", datetime.now(UTC), body)
    raw = body.encode("utf-8", "surrogatepass")

    assert all(verified(headers, raw, signing.public_key(key) or key) for key in keys)
    assert not verified(headers, raw + b"x", signing.public_key(keys[0]) or keys[0])


def test_the_specification_s_library_takes_it() -> None:
    """The library of the specification's authors verifies beside a signature that it does not know."""
    shared, private = signing.new_secret(Signing.V1), signing.new_secret(Signing.V1A)
    headers = signing.headers([private, shared], "msg_1", datetime.now(UTC), "{}")

    Webhook(shared).verify("{}", headers)


def test_a_known_pair() -> None:
    """The public key of a published private one is the published one."""
    assert PUBLIC == signing.public_key(PRIVATE)


@pytest.mark.parametrize("kind", list(Signing))
def test_a_secret_is_new_each_time(kind: Signing) -> None:
    """No two secrets are the same, and a shared one has no public half."""
    first, second = signing.new_secret(kind), signing.new_secret(kind)

    assert first != second
    assert (kind is Signing.V1A) == bool(signing.public_key(first))
