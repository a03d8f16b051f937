"""What a store's words mean for who waits."""

from __future__ import annotations

import pytest

from infra.store_errors import StoreError, clock_of


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


@pytest.mark.parametrize("date", [None, "", "soon", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
                                  "Mon, 01 Jan 2026 00:00:00 -0000"])  # fmt: skip
def test_a_store_that_says_no_time_has_no_clock(date: str | None) -> None:
    """Whatever stands there: a refusal is told as one, also with a date that there can't be."""
    assert clock_of({} if date is None else {"Date": date}) is None
