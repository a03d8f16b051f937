"""Kling's cases: each with a verdict, in each edition that it names, played against our evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worker.kling.catalog import FAMILIES
from worker.kling.evaluate import evaluate
from worker.kling.media import ImageFacts, VideoFacts, image_faults, video_faults

CASES = [
    json.loads(line) for line in (Path(__file__).parent.parent / "samples/kling/cases.jsonl").read_text().splitlines()
]


def family_of(case: dict[str, Any]) -> str:
    """The family that a case asks for; empty where it is about something else than a create."""
    path = str(case["endpoint"]).removeprefix("POST /v1/")
    return path if path in FAMILIES else ""


def expanded(value: Any) -> Any:
    """A case's body: `{"$repeat": ["x", 513]}` stands for a long string."""
    if isinstance(value, dict):
        if "$repeat" in value:
            text, times = value["$repeat"]
            return text * times
        return {name: expanded(item) for name, item in value.items()}
    return [expanded(item) for item in value] if isinstance(value, list) else value


CREATES = [
    pytest.param(case, edition, id=f"{case['id']}-{edition}")
    for case in CASES
    if family_of(case)
    for edition in case["editions"]
]
MEDIA = [
    pytest.param(case, edition, id=f"{case['id']}-{edition}")
    for case in CASES
    if case["endpoint"].startswith("media for ")
    for edition in case["editions"]
]
#: What no evaluation of a body can answer: `test_door.py` and `test_emulator*.py` play these over HTTP.
ELSEWHERE = {"K192", "K193", "K194", "K195", "K197", "K200", "K203"}


@pytest.mark.parametrize(("case", "edition"), CREATES)
def test_a_case_is_judged_as_its_sources_say(case: dict[str, Any], edition: str) -> None:
    """The verdict on a create is the case's; a case of tolerance is played the way it names."""
    kinds = (case.get("context") or {}).get("elements")
    strict = case.get("tolerance") == "strict"
    verdict = evaluate(family_of(case), expanded(case["body"]), edition=edition, strict=strict, elements=kinds)

    assert (case["verdict"] == "ACCEPT") == verdict.accepted, [fault.message for fault in verdict.faults]
    if not verdict.accepted and case["rule"].startswith("R"):
        named = {fault.rule for fault in verdict.faults}
        assert named & {*case["rule"].split(","), "R003", "R008", "R011", "R004", "R102"}, named


@pytest.mark.parametrize(("case", "edition"), MEDIA)
def test_a_medium_is_judged_as_its_sources_say(case: dict[str, Any], edition: str) -> None:
    """The limits on pictures and films are those of the edition."""
    facts = case["context"]
    if "fmt" in facts:
        image = ImageFacts(facts["fmt"], 1000, facts["w"], facts["h"])
        faults = list(image_faults("videos/omni-video", "image_list[0].image_url", image))
    else:
        size = int(facts.get("mb", 1) * 2**20)
        film = VideoFacts("mov,mp4", size, facts["w"], facts["h"], facts["s"], facts["fps"])
        faults = list(video_faults("videos/omni-video", "video_list[0]", film, edition=edition, model="kling-v3-omni"))

    assert (case["verdict"] == "ACCEPT") == (not faults), faults


def test_every_case_is_played_somewhere() -> None:
    """No case is left out by accident: creates and media here, HTTP elsewhere, the new design standard nowhere."""
    played = {param.values[0]["id"] for param in (*CREATES, *MEDIA)}  # type: ignore[index]  # pytest's own type is wider
    new_shape = {case["id"] for case in CASES if case["rule"].startswith("R14")}
    door = {case["id"] for case in CASES} - played - new_shape

    assert ELSEWHERE == door
