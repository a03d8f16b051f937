"""What a store's words mean for who waits."""

from __future__ import annotations

import pytest

from infra.store_errors import StoreError


@pytest.mark.parametrize(
    ("code", "lasts", "passes"),
    [
        ("QuotaExceeded", True, False),
        ("AllAccessDisabled", True, False),
        ("KMS.DisabledException", True, False),
        ("InvalidObjectState", True, False),
        ("SlowDown", False, True),
        ("InternalError", False, True),
        ("", False, True),
        ("NobodyKnows", False, False),
    ],
)
def test_a_word_lasts_or_passes(code: str, *, lasts: bool, passes: bool) -> None:
    """What only a person can change is told at once; what nobody knows is neither."""
    fault = StoreError("S3 put: refused")
    fault.code = code

    assert (lasts, passes) == (fault.lasts, fault.passes)
