from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.kling.answers import TaskStatus
from worker.kling.callback import read_callback, verify_signature
from worker.kling.errors import BadSignature, MalformedCallback

#: Kling's own test vector (official callbacks page).
SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
SIGNED_AT = 1781080794
BODY = b'{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}'
HEADERS = {
    "webhook-id": "9876543210",
    "webhook-timestamp": str(SIGNED_AT),
    "webhook-signature": "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
}
OTHER = "whsec_b3RoZXI="


@given(st.binary(max_size=400) | st.text().map(lambda text: json.dumps({"task_id": text}).encode()))
def test_any_bytes_are_a_callback_or_the_one_documented_error(body: bytes) -> None:
    """A receiver never meets anything else."""
    try:
        assert read_callback(body).task_id
    except MalformedCallback:
        return


@pytest.mark.parametrize(
    "body", [b'{"a":' * 50_000, b'{"task_id":NaN}', b'{"task_id":1e999}', b"[" * 10_000, b"9" * 10_000]
)
def test_bombs_are_malformed(body: bytes) -> None:
    """Depth, numbers without end and constants that are no JSON end in the documented error, quickly."""
    with pytest.raises(MalformedCallback):
        read_callback(body)


def test_kling_s_flat_payload_is_read() -> None:
    """The legacy payload has no envelope."""
    heard = read_callback(json.dumps({"task_id": "1", "task_status": "succeed"}).encode())

    assert ("1", TaskStatus.SUCCEEDED, "succeed") == heard


def test_the_official_vector_verifies() -> None:
    """Kling's published signature is what we compute, also while another secret is being rotated in."""
    verify_signature(HEADERS, BODY, [SECRET], SIGNED_AT)
    verify_signature(HEADERS, BODY, [OTHER, SECRET], SIGNED_AT)
    assert read_callback(BODY).status is TaskStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("headers", "body", "secrets", "skew"),
    [
        ({}, BODY, [SECRET], 0),
        (HEADERS, BODY + b" ", [SECRET], 0),
        (HEADERS, BODY, [OTHER], 0),
        (HEADERS, BODY, [], 0),
        (HEADERS, BODY, [SECRET], 301),
        (HEADERS, BODY, [SECRET], -301),
        ({**HEADERS, "webhook-id": "1"}, BODY, [SECRET], 0),
        ({**HEADERS, "webhook-timestamp": "x"}, BODY, [SECRET], 0),
        ({**HEADERS, "webhook-signature": "v1,\u00e4 v2,x garbage"}, BODY, [SECRET], 0),
        (HEADERS, BODY, ["whsec_%%%"], 0),
    ],
)
def test_whatever_is_off_is_refused(headers: dict[str, str], body: bytes, secrets: list[str], skew: int) -> None:
    """Another body, id, time, secret or no signature at all: one documented error."""
    with pytest.raises(BadSignature):
        verify_signature(headers, body, secrets, SIGNED_AT + skew)
