"""Every output of a task is archived, whatever it is: marked films, series of pictures, sound of each kind."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
import requests
from PIL import Image
from sqlalchemy import Engine

from infra.emulator import Emulator
from infra.stack.servers import Servers
from tests.house import House, house
from worker.jobs.model import State


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator) -> Iterator[House]:
    """A house with an open door, and an account at the emulator."""
    with house(servers.addresses, engine, emulator, KLING_PACE="0.001") as opened:
        yield opened


MARKED = {"watermark_info": {"enabled": True}}
FILM = {"model_name": "kling-video-o1", "prompt": "a", "aspect_ratio": "16:9", "duration": "5", **MARKED}
SHOWN = BytesIO()
Image.new("RGB", (400, 300), (9, 9, 9)).save(SHOWN, "PNG")
PICTURES = [{"image": base64.b64encode(SHOWN.getvalue()).decode()}]
SERIES = {
    "image_list": PICTURES,
    "model_name": "kling-v3-omni",
    "prompt": "a",
    "result_type": "series",
    "series_amount": 3,
}
CASES: tuple[tuple[str, dict[str, Any], dict[str, str]], ...] = (
    (
        "/v1/videos/omni-video",
        FILM,
        {"video-0.mp4": "video/mp4", "video-0-watermarked.mp4": "video/mp4"},
    ),
    (
        "/v1/images/omni-image",
        SERIES,
        dict.fromkeys(("image-0.png", "image-1.png", "image-2.png"), "image/png"),
    ),
    (
        "/v1/images/generations",
        {"prompt": "a", "n": 2, **MARKED},
        dict.fromkeys((f"image-{n}{mark}.png" for n in (0, 1) for mark in ("", "-watermarked")), "image/png"),
    ),
    (
        "/v1/audio/text-to-audio",
        {"prompt": "rain", "duration": 3.5},
        {"audio-0-mp3.mp3": "audio/mpeg", "audio-0-wav.wav": "audio/wav"},
    ),
)


@pytest.mark.parametrize(("path", "body", "files"), CASES, ids=[case[0] for case in CASES])
def test_every_output_is_archived(home: House, path: str, body: dict[str, Any], files: dict[str, str]) -> None:
    """P1, P2: each file that the provider names lies in the bucket under its own name and type, and is what it was."""
    created = home.post(body, path)
    assert 200 == created.status_code, created.text
    job_id = created.json()["data"]["task_id"]

    assert [State.ARCHIVED] == home.until_end(job_id)
    stored = home.services.store.files([job_id])[job_id]
    assert files == {file.key.rpartition("/")[2]: file.content_type for file in stored}
    for file in stored:
        answer = requests.get(home.services.link(file.bucket, file.key), timeout=30)
        assert file.content_type == answer.headers["Content-Type"]
        assert file.sha256 == hashlib.sha256(answer.content).hexdigest()
        assert (file.kind == "audio") == (file.width is None)
        if file.kind == "audio":
            assert file.duration == pytest.approx(3.5, abs=0.1)


def test_a_series_looks_as_kling_shows_it(home: House) -> None:
    """A client of Kling's that reads a series reads it here: the same lists, as long, with indices as they were."""
    job_id = home.post(SERIES, "/v1/images/omni-image").json()["data"]["task_id"]
    assert [State.ARCHIVED] == home.until_end(job_id)

    def shape(result: dict[str, Any]) -> dict[str, Any]:
        lists = ("images", "series_images")
        return {"result_type": result["result_type"]} | {name: [one["index"] for one in result[name]] for name in lists}

    job = home.services.store.get(job_id)
    assert job is not None
    task, _ = home.services.provider.query(job, home.clock())
    shown = home.get(f"/v1/images/omni-image/{job_id}").json()["data"]["task_result"]
    assert shape(dict(task.raw["task_result"])) == shape(shown)
