"""Every rule of the reference that a body can break is broken by one here, and named by our evaluation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.bodies import GOOD, IMAGE, TAIL, VIDEO, Body
from worker.kling.evaluate import RULES, evaluate

MARCH, FEBRUARY, JUNE = "2026-03", "2026-02", "2026-06"
OMNI, TEXT, FRAMES = "videos/omni-video", "videos/text2video", "videos/image2video"
DRAWN, DRAW = "images/omni-image", "images/generations"
_O, _T, _I = GOOD[OMNI][0], GOOD[TEXT][0], GOOD[FRAMES][0]
_V3 = {**_O, "model_name": "kling-v3-omni"}
_SHOTS = [{"index": 1, "prompt": "s", "duration": "5"}]
_TOLD = {**_V3, "multi_shot": True, "shot_type": "customize", "multi_prompt": _SHOTS}
_FIRST, _LAST, _PLAIN = (
    {"image_url": IMAGE, "type": "first_frame"},
    {"image_url": IMAGE, "type": "end_frame"},
    {"image_url": IMAGE},
)
_FILM = {"video_url": VIDEO}
_OF_FILM = {**_V3, "video_list": [{**_FILM, "refer_type": "feature"}]}
_SEVEN = [{"element_id": number} for number in range(1, 12)]
_ACTOR, _ACTORS = [{"element_id": 901}], [{"element_id": number} for number in (901, 902, 903, 904)]
_LONG = "x" * 2501


def _shot(**change: Any) -> Body:
    return {**_TOLD, "multi_prompt": [{**_SHOTS[0], **change}]}


#: Rule -> who breaks it: family, body, and the edition where it is not the newest.
BREAKS: dict[str, tuple[str, Body] | tuple[str, Body, str]] = {
    "R003": (OMNI, {**_O, "element_list": [{}]}),
    "R004": ("videos/motion-control", {**GOOD["videos/motion-control"][0], "model_name": "kling-v1"}),
    "R005": (OMNI, {**_O, "prompt": _LONG}),
    "R008": (OMNI, {**_O, "sound": True}),
    "R009": (FRAMES, {**_I, "image": "data:image/png;base64,aGVsbG8="}),
    "R011": (OMNI, {**_O, "watermark_info": {"enabled": "yes"}}),
    "R020": (OMNI, {**_O, "model_name": "kling-v3"}),
    "R021": (OMNI, {"aspect_ratio": "1:1"}),
    "R022": (OMNI, {**_O, "shot_type": "customize"}),
    "R023": (OMNI, {**_V3, "multi_shot": True}),
    "R024": (OMNI, {**_TOLD, "shot_type": "intelligence"}, FEBRUARY),
    "R025": (OMNI, {**_TOLD, "multi_prompt": []}),
    "R026": (OMNI, {**_TOLD, "shot_type": "intelligence", "prompt": ""}),
    "R027": (OMNI, {**_TOLD, "multi_prompt": [{**_SHOTS[0], "duration": "1"}] * 7, "duration": "7"}),
    "R028": (OMNI, _shot(prompt="x" * 513)),
    "R029": (OMNI, _shot(duration="0")),
    "R030": (OMNI, _shot(duration="4")),
    "R031": (OMNI, _shot(index=2)),
    "R032": (OMNI, {**_TOLD, "model_name": "kling-video-o1"}),
    "R033": (OMNI, {**_TOLD, "image_list": [_FIRST]}, MARCH),
    "R034": (OMNI, {**_O, "image_list": [{"image": IMAGE}]}),
    "R035": (OMNI, {**_O, "image_list": [_LAST]}),
    "R036": (OMNI, {**_O, "image_list": [_FIRST, _FIRST]}),
    "R037": (OMNI, {**_V3, "image_list": [_FIRST], "video_list": [_FILM]}),
    "R038": (OMNI, {**_O, "image_list": [_FIRST, _LAST, _PLAIN]}),
    "R039": (OMNI, {**_O, "image_list": [_PLAIN] * 8}),
    "R040": (OMNI, {**_OF_FILM, "image_list": [_PLAIN] * 5}),
    "R041": (OMNI, {**_OF_FILM, "element_list": _ACTOR}),
    "R042": (OMNI, {**_V3, "image_list": [_FIRST], "element_list": _SEVEN[:4]}),
    "R043": (OMNI, {**_V3, "element_list": _ACTORS}),
    "R044": (OMNI, {**_O, "element_list": _ACTOR}),
    "R045": (OMNI, {**_V3, "video_list": [_FILM, _FILM]}),
    "R046": (OMNI, {**_V3, "video_list": [{**_FILM, "refer_type": "style"}]}),
    "R047": (OMNI, {**_V3, "video_list": [{**_FILM, "keep_original_sound": "on"}]}),
    "R048": (OMNI, {**_OF_FILM, "sound": "on"}),
    "R049": (OMNI, {**_V3, "video_list": [_FILM], "duration": "5"}),
    "R050": (OMNI, {**_V3, "video_list": [_FILM]}),
    "R051": (OMNI, {**_O, "aspect_ratio": "4:3"}),
    "R052": (OMNI, {"prompt": "a cat"}),
    "R053": (OMNI, {**_V3, "duration": "16"}),
    "R054": (OMNI, {**_O, "duration": "7"}),
    "R055": (OMNI, {**_V3, "mode": "4k"}, MARCH),
    "R056": (OMNI, {**_O, "sound": "on"}),
    "R057": (OMNI, {**_O, "prompt": "<<<image_1>>>"}),
    "R060": (TEXT, {**_T, "model_name": "kling-v1-5"}),
    "R061": (TEXT, {}),
    "R062": (TEXT, {**_T, "duration": "7"}),
    "R063": (TEXT, {**_T, "mode": "4k"}),
    "R064": (TEXT, {**_T, "model_name": "kling-v2-6", "mode": "std", "sound": "on"}),
    "R065": (TEXT, {**_T, "cfg_scale": 1.1}),
    "R066": (TEXT, {**_T, "mode": "pro", "camera_control": {"type": "down_back"}}),
    "R067": (TEXT, {**_T, "camera_control": {"type": "simple"}}),
    "R068": (TEXT, {**_T, "aspect_ratio": "4:3"}),
    "R069": (TEXT, {**_T, "voice_list": [{"voice_id": "v"}]}),
    "R080": (FRAMES, {**_I, "model_name": "kling-v3-omni"}),
    "R081": (FRAMES, {"prompt": "a cat"}),
    "R082": (FRAMES, {**_I, "image_tail": TAIL, "static_mask": TAIL}),
    "R083": (FRAMES, {**_I, "model_name": "kling-v2-5-turbo", "image_tail": TAIL}),
    "R084": (FRAMES, {**_I, "model_name": "kling-v1-6", "static_mask": TAIL}),
    "R085": (FRAMES, {**_I, "camera_control": {"type": "down_back"}}),
    "R086": (FRAMES, {**_I, "element_list": [{"element_id": 1}]}),
    "R087": (FRAMES, {**GOOD[FRAMES][3], "sound": "on", "voice_list": [{"voice_id": "v"}]}),
    "R088": (FRAMES, {**GOOD[FRAMES][-1], "sound": "off"}),
    "R089": (FRAMES, {**GOOD[FRAMES][1], "multi_shot": True, "shot_type": "intelligence"}, MARCH),
    "R090": (FRAMES, {"model_name": "kling-v3", "image": IMAGE}),
    "R091": (FRAMES, {**_I, "sound": "on"}),
    "R100": (DRAWN, {"prompt": ""}),
    "R101": (DRAWN, {"prompt": "a", "resolution": "4k"}),
    "R102": (DRAWN, {"prompt": "a", "n": 10}),
    "R103": (DRAWN, {"prompt": "a", "aspect_ratio": "5:4"}),
    "R104": (DRAW, {"prompt": "a", "aspect_ratio": "auto"}),
    "R105": (DRAW, {"prompt": "a", "image": IMAGE, "negative_prompt": "b"}),
    "R106": (DRAW, {"prompt": "a", "image_reference": "face"}),
    "R107": (DRAW, {"prompt": "a", "image_fidelity": 1.5}),
    "R108": (DRAW, {"prompt": "a", "element_list": _SEVEN}),
    "R109": ("images/multi-image2image", {"subject_image_list": []}),
    "R120": ("videos/avatar/image2video", {"image": IMAGE}),
    "R121": ("videos/motion-control", {**GOOD["videos/motion-control"][1], "character_orientation": "image"}),
    "R122": ("videos/multi-image2video", {"prompt": "a", "image_list": []}),
    "R123": ("videos/multi-elements", {**GOOD["videos/multi-elements"][0], "image_list": [{"image": IMAGE}]}),
    "R124": ("images/editing/expand", {**GOOD["images/editing/expand"][0], "up_expansion_ratio": 2}),
    "R125": ("audio/text-to-audio", {"prompt": "rain", "duration": 11}),
    "R127": ("videos/effects", {"effect_scene": "hug", "input": {"images": [IMAGE]}}),
}
#: What no body breaks, and why.
NO_BODY = {
    "R001": "about the header",
    "R002": "about path and method",
    "R006": "about the account's other tasks",
    "R007": "says what reads as absent",
    "R010": "about the query string",
    "R126": "about a family that passes through",
}
_REFERENCE = (*range(1, 12), *range(20, 58), *range(60, 70), *range(80, 92), *range(100, 109), *range(120, 128))


@pytest.mark.parametrize("rule", BREAKS)
def test_a_body_that_breaks_a_rule_is_told_so(rule: str) -> None:
    """The rule is among what is said of the body that breaks it, with a field, what is allowed and a source."""
    family, body, *editions = BREAKS[rule]
    verdict = evaluate(family, body, edition=editions[0] if editions else JUNE, elements=dict.fromkeys(
        ("901", "902", "903", "904"), "video"
    ))  # fmt: skip
    said = [fault for fault in (*verdict.faults, *verdict.warnings) if fault.rule == rule]

    assert said, [fault.message for fault in (*verdict.faults, *verdict.warnings)]
    assert all(fault.field and fault.allowed and fault.source for fault in said)


def test_no_rule_of_the_reference_is_forgotten() -> None:
    """Each of R001 to R127 is broken by a body here, or says why none can; R109 is ours, by B's field table."""
    assert {f"R{number:03}" for number in _REFERENCE} | {"R109"} == BREAKS.keys() | NO_BODY.keys()
    assert {rule.id for rule in RULES} <= BREAKS.keys() | NO_BODY.keys()
    assert set() == BREAKS.keys() & NO_BODY.keys()
