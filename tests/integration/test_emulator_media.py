"""The files that the emulator makes, proved by decoding them."""

import base64
import io
from itertools import pairwise

import av
import pytest
import requests
from PIL import Image

from tests.integration.emulator_kit import (
    IMAGE,
    OMNI,
    TEXT,
    Client,
    Json,
    Neighbour,
    facts,
    fetch,
    picture,
    video_of,
)


@pytest.mark.parametrize(
    ("body", "size", "seconds", "sound"),
    [
        ({"model_name": "kling-v3", "mode": "std", "aspect_ratio": "1:1", "duration": "3"}, (720, 720), 3.0, None),
        ({"model_name": "kling-v2-6", "mode": "pro", "sound": "on"}, (1920, 1080), 5.0, "aac"),
        ({"model_name": "kling-v3", "mode": "4k", "duration": "3"}, (3840, 2160), 3.0, None),
        ({}, (1280, 720), 5.0, None),
    ],
)
def test_videos_have_the_shape_that_was_asked_for(
    client: Client, body: Json, size: tuple[int, int], seconds: float, sound: str | None
) -> None:
    """Mode and aspect_ratio give the size, duration the length to the frame, sound the audio."""
    made = facts(fetch(video_of(client.finish(TEXT, prompt="a fox", **body))["url"]).content)

    assert (size, seconds, sound) == (made.size, made.seconds, made.sound)


def test_shots_follow_each_other_with_their_own_backgrounds(client: Client) -> None:
    """A multi-shot video changes its picture where the next shot begins."""
    shots = [{"index": 1, "prompt": "dawn", "duration": "1"}, {"index": 2, "prompt": "dusk", "duration": "2"}]
    body = {"model_name": "kling-v3-omni", "mode": "std", "aspect_ratio": "16:9", "duration": "3"}
    task = client.finish(OMNI, multi_shot=True, shot_type="customize", multi_prompt=shots, **body)
    with av.open(io.BytesIO(fetch(video_of(task)["url"]).content), "r") as container:
        frames = list(container.decode(video=0))
    lumas = [bytes(frame.planes[0])[-2000:-1000] for frame in frames]

    steps = [sum(abs(a - b) for a, b in zip(one, next_one, strict=True)) for one, next_one in pairwise(lumas)]

    assert 71 == len(steps)
    assert [23] == [place for place, step in enumerate(steps) if step > 5000]


def test_a_video_from_an_image_follows_its_ratio(client: Client, neighbour: Neighbour) -> None:
    """image2video fetches the image, or decodes it, and keeps its ratio."""
    neighbour.files["/a.png"] = ("image/png", picture(400, 800))
    encoded = base64.b64encode(picture(800, 400, "JPEG")).decode()
    body = {"model_name": "kling-v3", "prompt": "a fox", "duration": "3"}
    upright = facts(fetch(video_of(client.finish(IMAGE, image=f"{neighbour.url}/a.png", **body))["url"]).content)
    flat = facts(fetch(video_of(client.finish(IMAGE, image=encoded, **body))["url"]).content)

    assert ((720, 1440), (1440, 720)) == (upright.size, flat.size)


def test_an_edited_video_is_as_long_as_its_base(client: Client) -> None:
    """A base video settles length and ratio, and its sound is kept on request."""
    base = video_of(client.finish(TEXT, model_name="kling-v3", sound="on", prompt="a fox", duration="4"))
    videos = [{"video_url": base["url"], "keep_original_sound": "yes"}]
    task = client.finish(OMNI, model_name="kling-v3-omni", prompt="now blue", video_list=videos, duration="9")
    made = facts(fetch(video_of(task)["url"]).content)

    assert ((1920, 1080), 4.0, "aac") == (made.size, made.seconds, made.sound)
    assert "4.8" == task["final_unit_deduction"]


def test_a_video_can_be_extended_by_its_id(client: Client) -> None:
    """video-extend takes the id of a video made here, shows it as parent, and refuses other ids."""
    parent = video_of(client.finish(TEXT, prompt="a fox"))
    task = client.finish("/v1/videos/video-extend", video_id=parent["id"])
    refused = client.post("/v1/videos/video-extend", video_id="1").json()

    assert parent == task["task_info"]["parent_video"]
    assert "10" == video_of(task)["duration"]
    assert 1201 == refused["code"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("/absent.png", b"", "Image URL is invalid"),
        ("/small.png", picture(299, 600), "Image pixel is invalid"),
        ("/other.webp", picture(600, 600, "WEBP"), "Image format is invalid"),
        ("/page.png", b"<html>", "Image format is invalid"),
        ("/long.png", picture(300, 900), "The resolution or aspect ratio of the input image is invalid."),
    ],
)
def test_a_bad_image_fails_the_task_and_not_the_request(
    client: Client, neighbour: Neighbour, name: str, content: bytes, reason: str
) -> None:
    """An image that cannot be used is noticed after the create reply, and costs nothing."""
    neighbour.files[name] = ("image/png", content)
    task = client.finish(IMAGE, prompt="a fox", image=neighbour.url + name)

    assert ("failed", {}, "0") == (task["task_status"], task["task_result"], task["final_unit_deduction"])
    assert task["task_status_msg"].startswith(reason)


def test_image_families_give_n_images_of_the_right_size(client: Client) -> None:
    """Each of n images is a PNG of its own; a series is told apart."""
    task = client.finish("/v1/images/generations", prompt="a fox", n=3, aspect_ratio="3:2", model_name="kling-v3")
    images = [Image.open(io.BytesIO(fetch(row["url"]).content)) for row in task["task_result"]["images"]]
    encoded = base64.b64encode(picture(600, 600)).decode()
    series = client.finish(
        "/v1/images/omni-image", model_name="kling-v3-omni", prompt="a fox", image_list=[{"image": encoded}],
        result_type="series", series_amount=2,
    )  # fmt: skip

    assert [("PNG", (1256, 840))] * 3 == [(image.format, image.size) for image in images]
    assert [0, 1, 2] == [row["index"] for row in task["task_result"]["images"]]
    assert "24" == task["final_unit_deduction"]
    assert ("series", 0, 2) == (
        series["task_result"]["result_type"],
        len(series["task_result"]["images"]),
        len(series["task_result"]["series_images"]),
    )


def test_audio_families_give_mp3_and_wav(client: Client) -> None:
    """text-to-audio makes both files, as long as was asked."""
    task = client.finish("/v1/audio/text-to-audio", prompt="rain", duration=3.5)
    (row,) = task["task_result"]["audios"]
    found = {}
    for kind in ("mp3", "wav"):
        with av.open(io.BytesIO(fetch(row[f"url_{kind}"]).content), "r") as container:
            found[kind] = (container.format.name, round((container.duration or 0) / 1e6, 1))

    assert {"mp3": ("mp3", 3.5), "wav": ("wav", 3.5)} == found
    assert ("3.5", "3.5") == (row["duration_mp3"], row["duration_wav"])


def test_other_kinds_of_results(client: Client) -> None:
    """Elements and voices end with an id of their own."""
    url = client.finish("/v1/images/generations", prompt="a face")["task_result"]["images"][0]["url"]
    element = client.finish(
        "/v1/general/advanced-custom-elements", element_name="Ann", element_description="a nurse",
        reference_type="image_refer", element_image_list={"frontal_image": url, "refer_images": [{"image_url": url}]},
    )["task_result"]["elements"][0]  # fmt: skip
    sound = client.finish("/v1/audio/text-to-audio", prompt="hm", duration=5)["task_result"]["audios"][0]["url_mp3"]
    voice = client.finish("/v1/general/custom-voices", voice_name="Ann", voice_url=sound)["task_result"]["voices"][0]

    assert (int, "Ann", "succeed") == (type(element["element_id"]), element["element_name"], element["status"])
    assert voice["voice_id"].isdecimal()
    assert b"ID3" == fetch(voice["trial_url"]).content[:3]


def test_a_watermark_is_a_second_file(client: Client) -> None:
    """watermark_info.enabled adds watermark_url, whose bytes differ; a callback does not show it."""
    video = video_of(client.finish(TEXT, prompt="a fox", watermark_info={"enabled": True}))
    plain = video_of(client.finish(TEXT, prompt="a fox"))

    assert fetch(video["url"]).content == fetch(plain["url"]).content != fetch(video["watermark_url"]).content
    assert "watermark_url" not in plain


def test_ranges(client: Client) -> None:
    """Files are served in parts, without a key, and a changed validator gives the whole."""
    url = video_of(client.finish(TEXT, prompt="a fox"))["url"]
    whole = fetch(url)
    tag = whole.headers["ETag"]
    middle, tail, rest = (fetch(url, Range=f"bytes={part}") for part in ("10-19", "-5", "100-"))
    same, other = (fetch(url, **{"Range": "bytes=0-0", "If-Range": value}) for value in (tag, '"other"'))
    beyond = fetch(url, Range="bytes=99999999-")
    head = requests.head(url, timeout=10)
    size = len(whole.content)

    assert (206, f"bytes 10-19/{size}", whole.content[10:20]) == (
        middle.status_code,
        middle.headers["Content-Range"],
        middle.content,
    )
    assert (whole.content[-5:], whole.content[100:]) == (tail.content, rest.content)
    assert (206, 200, 416) == (same.status_code, other.status_code, beyond.status_code)
    assert (str(size), b"", "bytes") == (head.headers["Content-Length"], head.content, head.headers["Accept-Ranges"])
    assert url.endswith("-output.mp4?x-kcdn-pid=112452")
    assert 404 == fetch(f"{client.emulator.url}/cdn/%2e%2e/%2e%2e/etc/passwd").status_code
