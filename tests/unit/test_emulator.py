"""What the emulator decides without sockets, for all inputs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.emulator import cdn, fates, plan, rules
from infra.emulator.ask import Ask
from infra.emulator.config import Config, Edition
from infra.emulator.families import FAMILIES
from infra.emulator.fates import FATES, Fates
from infra.emulator.ids import Ids
from infra.emulator.inputs import Inputs, Picture
from infra.emulator.prices import units
from infra.emulator.tasks import Failed, Task
from infra.emulator.wire import FilePart, Refusal, Request
from infra.emulator.world import World

_KEYS = (
    "model_name", "prompt", "mode", "duration", "n", "image", "image_tail", "image_list", "video_list", "element_list",
    "voice_list", "multi_shot", "multi_prompt", "shot_type", "sound", "aspect_ratio", "camera_control", "cfg_scale",
    "watermark_info", "result_type", "series_amount", "resolution", "video_url", "image_url", "dynamic_masks", "input",
    "element_image_list", "external_task_id", "callback_url", "edit_mode", "session_id", "reference_type",
    "type", "config", "index", "enabled", "image_reference", "video_id", "subject_image_list", "effect_scene",
)  # fmt: skip
_WORDS = (
    "kling-v3-omni", "kling-v3", "kling-v1", "kling-v2-6", "kling-video-o1", "std", "pro", "4k", "5", "10", "on",
    "true", "customize", "intelligence", "first_frame", "end_frame", "16:9", "series", "simple", "removal", "base",
    "https://h.test/a.png", "aGk=", "²", "image_refer",
)  # fmt: skip
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(_WORDS) | st.text(max_size=5)
_JSON: st.SearchStrategy[Any] = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5),
    max_leaves=12,
)
_BODIES = st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=12)
_PICTURES = (Picture(Path("a.png"), 640, 480),) * 50
_FAMILIES = st.sampled_from(sorted(FAMILIES.values(), key=lambda family: family.path))


@given(_FAMILIES, _BODIES, st.sampled_from(Edition))
def test_every_body_is_accepted_or_refused(family: Any, body: dict[str, Any], edition: Edition) -> None:
    """No JSON object of any shape makes a rule break: it passes, or it is refused with 1201."""
    body = {**dict.fromkeys(family.required, "5"), "prompt": "p", "image": "aGk=", "aspect_ratio": "16:9", **body}
    ask = rules.parse(family, json.dumps(body).encode(), frozenset({"1"}))
    try:
        rules.check(ask, edition)
    except Refusal as refusal:
        assert 1201 == refusal.code  # noqa: PT017 - passing is as good
        return
    assert float(units(ask, ask.duration)) >= 0
    assert ask.count >= 1
    assert family.kind != "video" or plan.film(ask, Inputs(_PICTURES)).seconds > 0
    assert family.kind != "image" or len(plan.sheets(ask, Inputs(_PICTURES))) == ask.count


@given(st.lists(st.floats(min_value=1.7e9, max_value=3.6e9), min_size=1))
def test_ids_are_decimal_and_only_grow(times: list[float]) -> None:
    """Whatever the clock does, ids grow, and are as long as Kling's."""
    ids = Ids()
    minted = [ids.mint(now) for now in times]

    assert sorted(set(minted), key=int) == minted
    assert all(18 <= len(one) <= 19 for one in minted)


def test_an_id_tells_its_time() -> None:
    """An id recorded by others decodes to its creation; ours are made by the same rule."""
    created = 1758093816.979
    recorded = 797191640489828365

    assert abs((int(Ids().mint(created)) >> 22) - (recorded >> 22)) < 100


@given(
    st.floats(min_value=0, max_value=100), st.floats(min_value=0, max_value=100), st.floats(min_value=0, max_value=3),
    st.lists(st.floats(min_value=0, max_value=300), min_size=2),
)  # fmt: skip
def test_a_status_never_goes_back(life: float, ended: float, early: float, times: list[float]) -> None:
    """Seen at any times, in order, a task only moves forward, and is final once."""
    order = ["submitted", "processing", "failed"]
    task = Task("1", Ask(FAMILIES["videos/text2video"], {}), Fates(early=early), created=0.0, life=life)
    task = replace(task, outcome=Failed("no"), ended=max(task.due, ended))
    seen = [order.index(task.status(now)) for now in sorted(times)]

    assert sorted(seen) == seen
    assert "failed" == task.status(task.ended + early)


@given(st.lists(st.sampled_from(sorted(FATES)), max_size=4), st.text(max_size=20))
def test_fates_are_read_from_anywhere(names: list[str], around: str) -> None:
    """A tag means the same wherever it stands; text without a tag means nothing."""
    tag = f"[fate: {', '.join(names)}]"
    plain = around.replace("[", "")

    assert fates.read([tag]) == fates.read([plain, f"{plain}{tag}{plain}"])
    assert Fates() == fates.read([plain])


@pytest.mark.parametrize("word", ["explode", "slow=much", "=", "fail fail"])
def test_a_fate_that_is_none_is_refused(word: str) -> None:
    """An unknown name, or a value that is no number, is refused with all known names."""
    with pytest.raises(Refusal, match="callback_twice") as caught:
        fates.read([f"[fate: {word}]"])

    assert 1201 == caught.value.code


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from(["{}-{}", "{}-", "-{}", "-", "x", "0-1,3-4"]))
def test_any_range_gives_a_part_of_the_file(first: int, last: int, form: str) -> None:
    """A range is answered with exactly the part that it names, with the whole, or with 416."""
    world = World(Config())
    path = Path(__file__)
    size = path.stat().st_size
    key = world.publish(path.with_suffix(path.suffix), "a").partition("/cdn/")[2].partition("?")[0]
    cdn._TYPES.setdefault(path.suffix, "text/plain")
    request = Request("GET", "", {}, {"range": f"bytes={form.format(first, last)}"})
    reply = cdn.serve(world, request, key)

    assert reply.status in {200, 206, 416}
    if isinstance(reply.body, FilePart):
        assert 0 <= reply.body.start < reply.body.start + reply.body.length <= size
    if reply.status == 206 and form == "{}-{}":
        assert (first, last - first + 1) == (reply.body.start, reply.length)  # type: ignore[union-attr] # 206 has a file
