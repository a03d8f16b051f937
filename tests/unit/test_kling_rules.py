from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.kling.evaluate import RULES, evaluate

IMAGE = "https://ex.test/a.png"
VIDEO = "https://ex.test/a.mp4"
OMNI = "videos/omni-video"
V3 = {"model_name": "kling-v3-omni", "prompt": "a cat", "aspect_ratio": "16:9"}
SHOT = {"index": 1, "prompt": "a door", "duration": "5"}
SHOTS = {**V3, "multi_shot": True, "shot_type": "customize", "multi_prompt": [SHOT]}
FIRST = {"image_url": IMAGE, "type": "first_frame"}
PLAIN = {"image_url": IMAGE}
FEATURE = {"video_url": VIDEO, "refer_type": "feature"}

#: Nothing that a body could break: somebody else keeps them.
STATED = {"R001", "R002", "R006", "R007", "R010", "R011"}


def test_what_is_kept_elsewhere_has_no_check_and_says_where() -> None:
    """R001, R002, R006, R007, R010 and R011 are rows without a look at the body."""
    rows = [row for row in RULES if row.check is None]

    assert STATED == {row.id for row in rows}
    assert all("kept by" in row.text for row in rows)


@given(st.permutations(sorted(V3)), st.dictionaries(st.text(min_size=1, max_size=8).map("x-{}".format), st.integers()))
def test_keys_that_mean_nothing_and_their_order_change_nothing(order: list[str], extra: dict[str, int]) -> None:
    """A good request stays good with unknown keys around it, in any order; each of them is pointed out."""
    verdict = evaluate(OMNI, {**extra, **{name: V3[name] for name in order}})

    assert verdict.accepted
    assert set(extra) == {one.field for one in verdict.warnings}


def test_sources_that_disagree_warn_where_no_edition_settles_it() -> None:
    """Shots beside a first frame are refused in the edition that says so, and doubted in the others."""
    body = {**SHOTS, "prompt": "", "image_list": [FIRST]}
    told = {}
    for edition in ("2026-02", "2026-03", "2026-06"):
        verdict = evaluate(OMNI, body, edition=edition)
        told[edition] = ["R033" in {one.rule for one in of} for of in (verdict.faults, verdict.warnings)]

    assert {"2026-02": [False, True], "2026-03": [True, False], "2026-06": [False, True]} == told


def test_a_gateway_settles_what_sources_disagree_on() -> None:
    """Hingnet's own document wants an aspect_ratio beside a feature video; elsewhere that is only doubted."""
    body = {"model_name": "kling-video-o1", "prompt": "a cat", "video_list": [FEATURE]}

    assert ["R052"] == [one.rule for one in evaluate(OMNI, body, gateway="hingnet").faults]
    assert ["R052"] == [one.rule for one in evaluate(OMNI, body).warnings]


@pytest.mark.parametrize(
    ("prompt", "warned"),
    [
        ("<<<image_1>>> beside <<<image_2>>>", ["<<<image_2>>>"]),
        ("<<<image_0>>>", ["<<<image_0>>>"]),
        ("<<<object_1>>>", ["<<<object_1>>>"]),
        ("<<image_1>>", ["<<image_1>>"]),
        ("<<<picture_1>>>", ["<<<picture_1>>>"]),
        ("1 << 2 and <b>bold</b>", []),
    ],
)
def test_references_in_a_prompt_are_checked(prompt: str, warned: list[str]) -> None:
    """One that names no place, no kind, or is written with too few brackets is pointed out; other text is not."""
    warnings = evaluate(OMNI, {**V3, "prompt": prompt, "image_list": [PLAIN]}).warnings

    assert [f'"{text}"' for text in warned] == [one.found for one in warnings]
