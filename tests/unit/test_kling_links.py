"""Fields of a result that no edition has: what they link to was paid for, and is not lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.kling.links import MOST, field, links
from worker.kling.wire import read_task

URLS = st.sampled_from(["https://a/1", "https://a/2", "HTTP://b/3?q=1", "https://c/4"]) | st.integers(0, 99).map(
    "https://d/{}".format
)
RESULTS = st.recursive(
    URLS | st.text(max_size=5) | st.none() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["id", "url", "cover", "x y", "x-y", "z" * 50]), inner, max_size=5)
    ),
    max_leaves=60,
)


def outputs(**said: Any) -> list[tuple[str, str, str]]:
    """Kind, variant and link of each output of a task of which `said` is said."""
    data = {"task_id": "1", "task_status": "succeed", **said}
    task = read_task(200, {}, json.dumps({"code": 0, "data": data}).encode())
    return [(one.kind, one.variant, one.url) for one in task.outputs]


def test_a_link_that_no_edition_names_is_an_output() -> None:
    """Wherever it stands, with its place; what is known already is not named twice, and inputs are none of it."""
    videos = [
        {"id": "77", "url": "https://k/v.mp4", "cover_url": "https://k/c.jpg", "again": "https://k/v.mp4"},
        {
            "id": "78",
            "url": "https://k/w.mp4",
            "cover_url": "https://k/d.jpg",
            "note": "see https://k/",
            "duration": "5",
        },
    ]
    info = {"parent_video": {"id": "1", "url": "https://k/parent.mp4"}}

    assert [
        ("video", "original", "https://k/v.mp4"),
        ("video", "original", "https://k/w.mp4"),
        ("other", "videos[77].cover_url", "https://k/c.jpg"),
        ("other", "videos[78].cover_url", "https://k/d.jpg"),
        ("other", "project.files[0]", "https://k/p.zip"),
    ] == outputs(task_result={"videos": videos, "project": {"files": ["https://k/p.zip"]}}, task_info=info)


def test_numbered_images_of_one_entry_are_each_an_output() -> None:
    """A family that answers with several links in one entry, instead of several entries, loses none."""
    images = [{"index": 0, "url_1": "https://k/1.png", "url_2": "https://k/2.png", "url_3": "https://k/3.png"}]

    assert [("other", f"images[0].url_{n}", f"https://k/{n}.png") for n in (1, 2, 3)] == outputs(
        task_result={"images": images}
    )


def test_a_place_is_the_same_in_whatever_order_entries_come() -> None:
    """P2: another answer need not keep their order; a place that went with it would store one twice, and one never."""
    images = [{"index": n, "url": f"https://k/{n}.png", "mask_url": f"https://k/m{n}"} for n in range(3)]
    turned = [images[2], images[0], images[1]]

    assert ("other", "images[2].mask_url", "https://k/m2") in outputs(task_result={"images": images})
    assert {*outputs(task_result={"images": images})} == {*outputs(task_result={"images": turned})}


def test_an_index_that_tells_nothing_apart_is_not_asked() -> None:
    """Some answers count every entry as the first."""
    images = [{"index": 0, "url": f"https://k/{n}.png", "mask_url": f"https://k/m{n}"} for n in range(2)]
    others = [one for one in outputs(task_result={"images": images}) if one[0] == "other"]

    assert [("other", f"images[{n}].mask_url", f"https://k/m{n}") for n in range(2)] == others


def test_a_list_of_bare_links_is_read() -> None:
    """As some gateways answer."""
    assert [("image", "original", "https://k/1.png"), ("image", "original", "https://k/2.png")] == outputs(
        task_result={"images": ["https://k/1.png", "https://k/2.png"]}
    )


def test_an_empty_result_hides_no_outputs() -> None:
    """The old place may be there and empty beside the new one."""
    entries = [
        {"type": "video", "id": "7", "url": "https://k/v"},
        {"type": "model", "id": "8", "glb_url": "https://k/m"},
    ]

    assert [("video", "original", "https://k/v"), ("other", "outputs[8].glb_url", "https://k/m")] == outputs(
        task_result={}, outputs=entries
    )


@given(RESULTS, st.sets(URLS))
def test_each_link_has_a_place_of_its_own(result: Any, named: set[str]) -> None:
    """P2: no link comes twice and no two share a place, as both name a file; none that is known; not endlessly many."""
    found, _ = links({"videos": result}, named)

    assert len(found) == len({place for place, _ in found}) == len({url for _, url in found})
    assert not named & {url for _, url in found}
    assert len(found) <= MOST
    assert all(len(place) < 210 for place, _ in found)


def test_a_field_is_the_same_in_any_task() -> None:
    """What tells entries apart is left out."""
    assert "videos[].cover_url" == field("videos[797191640795996237].cover_url")


@pytest.mark.parametrize(
    ("place", "seen"),
    [
        ("meshes.797191640795996237.glb_url", "meshes.*.glb_url"),
        ("meshes.3f2b9c1e-8a1d-4c55-9e0f-aa3b5cde1122[7].glb_url", "meshes.*[].glb_url"),
        ("meshes.01m7zx35qkpa1sgw8p8n7q8waj.glb_url", "meshes.*.glb_url"),
        ("meshes.V1StGXR8_Z5jdHi6B-myT", "meshes.*"),
        ("url_1080", "url_1080"),
        ("first_frame_image_2_url", "first_frame_image_2_url"),
        ("watermark_url_mp4", "watermark_url_mp4"),
        ("videos[77].image2video_first_frame", "videos[].image2video_first_frame"),
        ("videos[77].watermark_1080p_url", "videos[].watermark_1080p_url"),
        ("motion_brush_mask2_url", "motion_brush_mask2_url"),
        ("scene3d_preview_url", "scene3d_preview_url"),
    ],
)
def test_an_id_in_place_of_a_name_makes_no_new_field(place: str, seen: str) -> None:
    """Else a mapping by ids would be a thing never seen before in each task."""
    assert seen == field(place)


@pytest.mark.parametrize("count", [0, 1, MOST, MOST + 1, 5 * MOST])
def test_how_many_links_are_left_out_is_said(count: int) -> None:
    """Nothing is dropped without a word; the same link twice is one."""
    urls = [f"https://k/{number}" for number in range(count)]
    data = {"task_id": "1", "task_status": "succeed", "task_result": {"pages": urls + urls}}
    task = read_task(200, {}, json.dumps({"code": 0, "data": data}).encode())

    assert (min(count, MOST), max(0, count - MOST)) == (len(task.outputs), task.left_out)
