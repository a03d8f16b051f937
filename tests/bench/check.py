"""What a whole evaluation costs, as a multiple of a bare pydantic parse of the same body."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.bench.measure import medians, show, write
from worker.kling.evaluate import evaluate
from worker.kling.requests import OmniVideo

IMAGE = "https://example.test/reference.png"
BODIES: dict[str, dict[str, Any]] = {
    "text": {
        "model_name": "kling-video-o1",
        "prompt": "a cat walks along a wall at dusk",
        "mode": "pro",
        "aspect_ratio": "16:9",
        "duration": "5",
    },
    "images": {
        "model_name": "kling-v3-omni",
        "prompt": "<<<image_1>>> meets <<<element_1>>> in the rain",
        "mode": "pro",
        "aspect_ratio": "16:9",
        "duration": "8",
        "sound": "on",
        "image_list": [{"image_url": IMAGE}, {"image_url": IMAGE}],
        "element_list": [{"element_id": 829836802793406551}],
        "callback_url": "",
    },
    "shots": {
        "model_name": "kling-v3-omni",
        "multi_shot": True,
        "shot_type": "customize",
        "prompt": "",
        "multi_prompt": [
            {"index": 1, "prompt": "a door opens", "duration": "2"},
            {"index": 2, "prompt": "somebody comes in", "duration": "3"},
        ],
        "mode": "std",
        "aspect_ratio": "9:16",
        "duration": "5",
    },
}


def run() -> None:
    """Measure and show."""
    rows = {}
    for name, body in BODIES.items():
        ways: dict[str, Callable[[], object]] = {
            "bare parse": partial(OmniVideo.model_validate, body),
            "evaluation": partial(evaluate, "videos/omni-video", body),
        }
        rows[name] = medians(ways, calls=3000)
    show(
        "omni-video: the whole evaluation against a bare pydantic parse", rows, baseline="bare parse", ratio="vs_parse"
    )
    ratios = {case: times["evaluation"] / times["bare parse"] for case, times in rows.items()}
    write("check", {"vs_parse": round(max(ratios.values()), 2)}, {"seconds": rows})
