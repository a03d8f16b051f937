from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.kling import catalog, requests
from worker.kling.errors import UnknownEdition, UnknownFamily, UnknownGateway
from worker.kling.evaluate import RULES, evaluate

IMAGE = "https://ex.test/a.png"
VIDEO = "https://ex.test/a.mp4"
#: A good request of each family.
GOOD: dict[str, dict[str, Any]] = {
    "videos/omni-video": {"prompt": "a cat", "aspect_ratio": "16:9"},
    "videos/text2video": {"prompt": "a cat"},
    "videos/image2video": {"image": IMAGE, "prompt": "a cat"},
    "videos/multi-image2video": {"image_list": [{"image": IMAGE}], "prompt": "a cat"},
    "videos/video-extend": {"video_id": "797191640795996237"},
    "videos/motion-control": {
        "image_url": IMAGE, "video_url": VIDEO, "character_orientation": "image", "mode": "std",
    },
    "videos/multi-elements": {"session_id": "1", "edit_mode": "removal", "prompt": "x from <<<video_1>>>"},
    "videos/avatar/image2video": {"image": IMAGE, "audio_id": "1"},
    "videos/effects": {"effect_scene": "hug", "input": {"images": [IMAGE, IMAGE]}},
    "videos/lip-sync": {"input": {"video_id": "1", "mode": "text2video", "text": "hello", "voice_id": "v"}},
    "videos/advanced-lip-sync": {
        "session_id": "1",
        "face_choose": [
            {"face_id": "0", "audio_id": "1", "sound_start_time": 0, "sound_end_time": 3000, "sound_insert_time": 0}
        ],
    },
    "images/omni-image": {"prompt": "a cat"},
    "images/generations": {"prompt": "a cat"},
    "images/multi-image2image": {"subject_image_list": [{"subject_image": IMAGE}]},
    "images/kolors-virtual-try-on": {"human_image": IMAGE, "cloth_image": IMAGE},
    "images/editing/expand": {
        "image": IMAGE,
        "up_expansion_ratio": 0.1,
        "down_expansion_ratio": 0.1,
        "left_expansion_ratio": 0.1,
        "right_expansion_ratio": 0.1,
    },
    "audio/text-to-audio": {"prompt": "rain", "duration": 5},
    "audio/video-to-audio": {"video_url": VIDEO},
}  # fmt: skip

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
families = st.sampled_from(sorted(catalog.FAMILIES))


def fields_of(path: str) -> list[str]:
    """The fields of a family's model."""
    return sorted(requests.MODELS[path].model_fields)


def test_every_family_is_a_row_a_model_and_has_rules() -> None:
    """Catalog, models and rules name the same families."""
    ruled = {path for rule in RULES for path in rule.families}

    assert set(catalog.FAMILIES) == set(requests.MODELS) == ruled == set(GOOD)


@pytest.mark.parametrize("path", sorted(GOOD))
def test_a_good_request_of_each_family_is_accepted(path: str) -> None:
    """With nothing wrong there is no fault and no warning, in the newest edition and in the first."""
    for edition in ("2026-02", "2026-06"):
        verdict = evaluate(path, GOOD[path], edition=edition)
        assert [] == [fault.message for fault in (*verdict.faults, *verdict.warnings) if fault.rule != "R090"]


@given(families, json_values)
def test_whatever_comes_is_judged(path: str, body: Any) -> None:
    """For any JSON value there is a verdict; what is no object is refused as that."""
    verdict = evaluate(path, body)

    assert isinstance(body, dict) or not verdict.accepted


@given(st.data())
def test_a_good_request_with_anything_in_any_field_is_judged(data: st.DataObject) -> None:
    """Any value of any type in any field gives a verdict, and its faults can be said and sent."""
    path = data.draw(families)
    wrong = data.draw(st.dictionaries(st.sampled_from(fields_of(path)), json_values, max_size=4))
    verdict = evaluate(path, {**GOOD[path], **wrong}, strict=data.draw(st.booleans()))
    for fault in (*verdict.faults, *verdict.warnings):
        json.dumps(fault.message).encode("utf-8", "backslashreplace")
    assert verdict.cost is not None


@given(st.data())
def test_a_fault_does_not_hide_another(data: st.DataObject) -> None:
    """Faults of two fields found one by one are both found when they come together."""
    wrong = {
        "mode": "best",
        "aspect_ratio": "5:4",
        "duration": "99",
        "sound": "loud",
        "watermark_info": [],
        "prompt": 7,
    }
    chosen = data.draw(st.lists(st.sampled_from(sorted(wrong)), min_size=1, unique=True))
    body = {**GOOD["videos/omni-video"], **{name: wrong[name] for name in chosen}}
    named = {fault.field for fault in evaluate("videos/omni-video", body).faults}

    assert set(chosen) <= named


def test_a_secret_in_a_request_is_not_repeated() -> None:
    """What was found is shortened, without query strings and without the text of a file."""
    signed = "https://b.s3.example/k.png?X-Amz-Signature=s3cr3t"
    body = {"prompt": "a", "aspect_ratio": signed, "mode": "A" * 100_000}
    text = " ".join(fault.message for fault in evaluate("videos/omni-video", body).faults)

    assert "s3cr3t" not in text
    assert len(text) < 2000


@pytest.mark.parametrize(
    ("gateway", "path", "body", "accepted"),
    [
        ("hingnet", "videos/omni-video", {"model_name": "kling-v3-omni", "prompt": "a", "aspect_ratio": "1:1"}, False),
        ("cometapi", "videos/omni-video", {"model_name": "kling-v3-omni", "prompt": "a", "aspect_ratio": "1:1"}, False),
        ("official", "videos/omni-video", {"model_name": "kling-v3-omni", "prompt": "a", "aspect_ratio": "1:1"}, True),
        ("anyapi", "videos/omni-video", {"prompt": "a", "aspect_ratio": "1:1"}, False),
        ("cometapi", "videos/image2video", {"image": IMAGE, "prompt": "x" * 501}, False),
        ("official", "videos/image2video", {"image": IMAGE, "prompt": "x" * 501}, True),
        ("cometapi", "videos/image2video", {"image": IMAGE, "prompt": "x", "negative_prompt": "y" * 201}, False),
        ("hingnet", "videos/omni-video", {"prompt": "a", "aspect_ratio": "1:1", "mode": "4k"}, False),
    ],
)
def test_a_gateway_s_own_document_counts(gateway: str, path: str, body: dict[str, Any], *, accepted: bool) -> None:
    """Where a gateway's document differs from Kling's, its rows decide."""
    assert accepted == evaluate(path, body, gateway=gateway).accepted


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ({"cfg_scale": 0.5, "model_name": "kling-v2-6", "mode": "pro"}, "R091"),
        ({"shot_type": "customize"}, "R022"),
        ({"prompt": "a <<<image_2>>>"}, "R057"),
        ({"duration": 5}, "R008"),
        ({"surprise": 1}, "R003"),
    ],
)
def test_what_will_be_ignored_is_a_warning(body: dict[str, Any], rule: str) -> None:
    """It does not refuse, and it says so."""
    verdict = evaluate("videos/image2video", {**GOOD["videos/image2video"], **body})

    assert verdict.accepted
    assert rule in {warning.rule for warning in verdict.warnings}


def test_placeholders_are_checked_in_shots_too() -> None:
    """A placeholder without its place is pointed out, also inside multi_prompt."""
    body = {
        "model_name": "kling-v3-omni", "aspect_ratio": "1:1", "multi_shot": True, "shot_type": "customize",
        "multi_prompt": [{"index": 1, "prompt": "<<<image_1>>> and <<<element_3>>>", "duration": "5"}],
        "image_list": [{"image_url": IMAGE}],
    }  # fmt: skip
    warnings = evaluate("videos/omni-video", body).warnings

    assert [("multi_prompt[0].prompt", "R057")] == [(one.field, one.rule) for one in warnings]
    assert "element_3" in warnings[0].found


@pytest.mark.parametrize(
    ("path", "body", "units", "usd"),
    [
        ("videos/omni-video", {"prompt": "a", "aspect_ratio": "1:1"}, "4.0", "0.560"),
        (
            "videos/omni-video",
            {"model_name": "kling-v3-omni", "sound": "on", "duration": "10", "mode": "std"},
            "8.0",
            "1.120",
        ),
        ("images/generations", {"model_name": "kling-v3", "prompt": "a", "n": 3}, "24", "0.0840"),
        ("videos/omni-video", {"video_list": [{"video_url": VIDEO}]}, "None", "None"),
    ],
)
def test_the_price_table_is_applied(path: str, body: dict[str, Any], units: str, usd: str) -> None:
    """Units and list price by model, mode, sound, duration and n; none where the input's length decides."""
    cost = evaluate(path, body).cost

    assert (units, usd) == (str(cost.units), str(cost.usd))


def test_names_that_do_not_exist_are_said_with_those_that_do() -> None:
    """An unknown family, gateway or edition lists the known ones."""
    with pytest.raises(UnknownFamily, match="videos/omni-video"):
        evaluate("videos/nothing", {})
    with pytest.raises(UnknownGateway, match="hingnet"):
        evaluate("videos/omni-video", {}, gateway="nobody")
    with pytest.raises(UnknownEdition, match="2026-06"):
        evaluate("videos/omni-video", {}, edition="1999")


def test_the_last_part_of_a_path_is_a_name_where_only_one_ends_so() -> None:
    """`omni-video` is enough; `image2video` could be two."""
    assert catalog.family("omni-video").path == "videos/omni-video"
    assert catalog.family("videos/image2video").path == "videos/image2video"
    with pytest.raises(UnknownFamily, match="avatar/image2video"):
        catalog.family("image2video")


def test_every_rule_has_a_sentence_and_a_source() -> None:
    """Rules are data that a page can list."""
    for rule in RULES:
        assert re.fullmatch(r"R\d{3}", rule.id)
        assert rule.text.endswith(".")
        assert rule.source


def test_nothing_outside_the_package_knows_a_family(root: Path) -> None:
    """Door, worker and archive name no family: only docstrings show one as an example."""
    named = []
    for path in [*root.glob("worker/**/*.py"), *root.glob("webhook/**/*.py")]:
        if "kling" in path.relative_to(root).parts:
            continue
        tree = ast.parse(path.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs)
        named += [(path.name, node.value) for node in strings if node.value in catalog.FAMILIES]

    assert [] == named
