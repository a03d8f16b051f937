from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.kling import catalog
from worker.kling.evaluate import evaluate
from worker.kling.prices import cost
from worker.kling.requests import MODELS

OMNI = "videos/omni-video"
#: All that JSON can say, halves of characters and numbers beyond any sense included.
texts = st.text(st.characters(exclude_categories=()), max_size=6)
numbers = st.integers() | st.sampled_from([18, 19, 5000]).map(lambda digits: 10**digits) | st.floats()
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_whatever_stands_anywhere_is_judged(data: st.DataObject) -> None:
    """Any value in any field, inside lists and objects too, ends in a verdict with a cost."""
    path = data.draw(st.sampled_from(sorted(catalog.FAMILIES)))
    names = st.sampled_from(sorted(MODELS[path].model_fields)) | texts
    inner = st.sampled_from(["image", "image_url", "video_url", "index", "prompt", "duration", "type", "config", "x"])
    entries = st.dictionaries(inner, anything, max_size=3)
    values = anything | entries | st.lists(entries | anything, max_size=3)
    body = data.draw(st.dictionaries(names, values, max_size=6))
    verdict = evaluate(path, body, strict=data.draw(st.booleans()))
    told = [[one.field, one.found, one.message] for one in (*verdict.faults, *verdict.warnings)]

    assert json.dumps(told)
    assert cost(path, verdict.request) == verdict.cost
    assert catalog.expected_seconds(path, body) > 0


def test_one_wrong_entry_does_not_hide_the_others() -> None:
    """Each entry of a list is judged for itself, under its own number."""
    body: dict[str, Any] = {
        "model_name": "kling-v3-omni",
        "prompt": "a",
        "aspect_ratio": "1:1",
        "image_list": [3, {"image_url": ""}, {"image_url": 4}, {"image_url": "https://ex.test/a.png", "type": "no"}],
    }
    fields = {fault.field for fault in evaluate(OMNI, body).faults}

    assert {"image_list[0]", "image_list[1].image_url", "image_list[2].image_url", "image_list[3].type"} == fields


@pytest.mark.parametrize("value", [5, [], {}, True])
def test_a_model_of_a_wrong_type_says_only_that(value: object) -> None:
    """What depends on the model is not guessed at from the default one."""
    body = {"model_name": value, "prompt": "a", "aspect_ratio": "1:1", "sound": "on", "duration": "15"}

    assert ["model_name"] == [fault.field for fault in evaluate(OMNI, body).faults]


def test_a_key_with_half_a_character_is_a_fault() -> None:
    """JSON can escape it, no field has it, and nothing breaks."""
    body = json.loads('{"\\ud800": 1, "prompt": "a", "aspect_ratio": "1:1"}')

    assert [("body", "R003")] == [(fault.field, fault.rule) for fault in evaluate(OMNI, body).faults]


@pytest.mark.parametrize("entry", [1, {}, {"image_url": ""}])
def test_a_list_without_end_is_refused_at_once(entry: object) -> None:
    """A million entries are one fault, not a million."""
    began = time.thread_time()  # what others do on this machine is no work of ours
    verdict = evaluate(OMNI, {"prompt": "a", "aspect_ratio": "1:1", "image_list": [entry] * 1_000_000})

    assert ["image_list"] == [fault.field for fault in verdict.faults]
    assert time.thread_time() - began < 2


def test_a_fault_shows_neither_files_nor_what_a_url_carries() -> None:
    """A data: URL is named by its beginning; a signature in a query never is."""
    signed = "ftp://user:s3cr3t@host/a.png?X-Amz-Signature=s3cr3t"
    for image in ("data:image/png;base64," + "QUJD" * 1000, signed):
        (fault,) = evaluate("videos/image2video", {"prompt": "a", "image": image}).faults
        assert len(fault.message) < 300
        assert "s3cr3t" not in fault.message
