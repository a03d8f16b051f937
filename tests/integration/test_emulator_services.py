"""The emulator's synchronous routes: answered at once, with state that is kept and files that are real."""

import base64
import io

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from infra.emulator import Config, Emulator, masks
from tests.integration.emulator_kit import OMNI, PATIENCE, TEXT, Client, Json, client_of, fetch, picture, video_of

ELEMENTS, VOICES = "/v1/general/advanced-custom-elements", "/v1/general/custom-voices"
SELECT = "/v1/videos/multi-elements"


@pytest.fixture(scope="module")
def clip(emulator: Emulator) -> Json:
    """A video of 5 s that was made here."""
    with client_of(emulator) as one:
        body = {"model_name": "kling-v3-omni", "prompt": "a fox", "aspect_ratio": "16:9", "mode": "std"}
        return video_of(one.finish(OMNI, **body))


def said(client: Client, path: str, **body: object) -> tuple[int, int]:
    """HTTP status and code of a POST."""
    answer = client.post(path, **body)
    return answer.status_code, answer.json()["code"]


def data(client: Client, path: str, **body: object) -> Json:
    """What a POST that must succeed answers."""
    answer = client.post(path, **body).json()
    assert answer["code"] == 0, answer
    return dict(answer["data"])


def test_presets_are_kling_s_own_and_paged(client: Client) -> None:
    """Voices and elements that were there before, in pages, with samples to listen to; nobody can delete them."""
    voices = client.get("/v1/general/presets-voices").json()["data"]
    elements = client.get("/v1/general/advanced-presets-elements", pageNum=2, pageSize=1).json()["data"]
    voice = voices[0]["task_result"]["voices"][0]
    element = elements[0]["task_result"]["elements"][0]
    beyond = [client.get("/v1/general/presets-voices", pageSize=size).json()["code"] for size in (1000, 1001)]

    assert "kling" == voice["owned_by"] == element["owned_by"]
    assert "audio/mpeg" == fetch(voice["trial_url"]).headers["Content-Type"]
    assert [2, 1] == [len(voices), len(elements)]
    assert [0, 1201] == beyond
    assert (400, 1201) == said(client, "/v1/general/delete-voices", voice_id=voice["voice_id"])
    assert (400, 1201) == said(client, "/v1/general/delete-elements", element_id=element["element_id"])


def test_an_element_lives_until_it_is_deleted(client: Client) -> None:
    """It is deleted once, whether its id is sent as a number or as a string, and its task shows that."""
    body = {"element_name": "fox", "element_description": "a fox", "reference_type": "image_refer"}
    image = base64.b64encode(picture(400, 400)).decode()
    task = client.finish(
        ELEMENTS, **body, element_image_list={"frontal_image": image, "refer_images": [{"image_url": image}]}
    )
    (element,) = task["task_result"]["elements"]
    answers = [said(client, "/v1/general/delete-elements", element_id=str(element["element_id"])) for _ in range(2)]
    shown = client.task(ELEMENTS, task["task_id"])["task_result"]["elements"][0]

    assert [(200, 0), (404, 1203)] == answers
    assert ["succeed", "deleted"] == [element["status"], shown["status"]]
    assert (400, 1201) == said(client, "/v1/general/delete-elements")


def test_an_element_is_made_at_once_in_the_older_way(client: Client) -> None:
    """Of a front and one to three more images, that are looked at before the answer."""
    image, small = (base64.b64encode(picture(side, side)).decode() for side in (400, 200))
    body = {"element_name": "fox", "element_description": "a fox", "element_frontal_image": image}
    path = "/v1/general/custom-elements"
    made = data(client, path, **body, element_refer_list=[{"image_url": image}])

    assert (200, 0) == said(client, "/v1/general/delete-elements", element_id=made["element_id"])
    assert (400, 1201) == said(client, path, **body, element_refer_list=[{"image_url": small}])
    assert (400, 1201) == said(client, path, **body, element_refer_list=[{"image_url": image}] * 4)
    assert (400, 1201) == said(client, path, **{**body, "element_name": "x" * 21}, element_refer_list=[{}])


def test_a_voice_lives_until_it_is_deleted(client: Client, clip: Json) -> None:
    """A voice of one's own is made by a task, and deleted once."""
    task = client.finish(VOICES, voice_name="fox", video_id=clip["id"])
    voice_id = task["task_result"]["voices"][0]["voice_id"]
    answers = [said(client, "/v1/general/delete-voices", voice_id=voice_id) for _ in range(2)]

    assert [(200, 0), (404, 1203)] == answers


def test_speech_is_a_real_sound_file(client: Client) -> None:
    """Text becomes an mp3 as long as the answer says; what cannot be said is refused."""
    words = {"text": "hello there, " * 10, "voice_id": "v", "voice_language": "en"}
    spoken = data(client, "/v1/audio/tts", **words, voice_speed=2)
    (audio,) = spoken["task_result"]["audios"]
    with av.open(io.BytesIO(fetch(audio["url"]).content), "r") as sound:
        seconds = (sound.duration or 0) / 1e6
    wrong: list[Json] = [
        {**words, "text": "x" * 1001}, {**words, "text": ""}, {**words, "voice_id": None},
        {**words, "voice_language": "de"}, {**words, "voice_speed": 2.1}, {**words, "voice_speed": True},
    ]  # fmt: skip

    assert abs(float(audio["duration"]) - seconds) < 0.1
    assert ("succeed", "0.05") == (spoken["task_status"], spoken["final_unit_deduction"])
    assert {(400, 1201)} == {said(client, "/v1/audio/tts", **body) for body in wrong}


def test_faces_are_found_in_a_video(client: Client, clip: Json) -> None:
    """A session and one face from beginning to end, whose picture can be fetched; exactly one video is named."""
    path = "/v1/videos/identify-face"
    found = data(client, path, video_url=clip["url"])
    (face,) = found["face_data"]
    with Image.open(io.BytesIO(fetch(face["face_image"]).content)) as image:
        size = image.size

    assert ((1280, 720), 0, 5000) == (size, face["start_time"], face["end_time"])
    assert found["session_id"].isdecimal()
    assert found["session_id"] != data(client, path, video_id=clip["id"])["session_id"]
    assert (400, 1201) == said(client, path)
    assert (400, 1201) == said(client, path, video_id=clip["id"], video_url=clip["url"])
    assert (400, 1201) == said(client, path, video_id="1")
    assert (400, 1201) == said(client, path, video_url=f"{client.emulator.url}/nothing.mp4")


def test_a_selection_is_kept_in_its_session(client: Client, clip: Json) -> None:
    """What is marked, taken back and cleared is what masks and the preview show."""
    begun = data(client, f"{SELECT}/init-selection", video_id=clip["id"])
    here: Json = {"session_id": begun["session_id"], "frame_index": 3}
    points = [{"x": 0.25, "y": 0.5}, {"x": 0.75, "y": 0.5}]
    both = data(client, f"{SELECT}/add-selection", **here, points=points)["res"]
    left = data(client, f"{SELECT}/delete-selection", **here, points=points[:1])["res"]
    shown = data(client, f"{SELECT}/preview-selection", session_id=begun["session_id"])["res"]
    data(client, f"{SELECT}/clear-selection", session_id=begun["session_id"])
    white = [_white(one["rle_mask_list"][0]["png_mask"]["base64"]) for one in (both, left)]

    assert (0, 24.0, 1280, 720, 120, 5000) == tuple(
        begun[key] for key in ("status", "fps", "width", "height", "total_frame", "original_duration")
    )
    assert 2 * white[1] == white[0] > 0
    assert {"video/mp4", "image/png"} == {fetch(url).headers["Content-Type"] for url in shown.values()}
    assert (400, 1201) == said(client, f"{SELECT}/preview-selection", session_id=begun["session_id"])


def _white(encoded: str) -> int:
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        return image.histogram()[255]


def test_a_selection_has_limits(client: Client, clip: Json) -> None:
    """Unknown sessions are 1203; frames and points beyond their limits, and points that are not there, 1201."""
    session = data(client, f"{SELECT}/init-selection", video_url=clip["url"])["session_id"]
    point = {"x": 0.5, "y": 0.5}
    add = f"{SELECT}/add-selection"
    for frame in range(10):
        data(client, add, session_id=session, frame_index=frame, points=[point])
    wrong: list[Json] = [
        {"frame_index": 10, "points": [point]}, {"frame_index": 0, "points": [point] * 10},
        {"frame_index": 120, "points": [point]}, {"frame_index": 0.5, "points": [point]},
        {"frame_index": 0, "points": [{"x": 1.1, "y": 0}]}, {"frame_index": 0, "points": []}, {"frame_index": 0},
    ]  # fmt: skip
    away = said(client, f"{SELECT}/delete-selection", session_id=session, frame_index=0, points=[{"x": 0, "y": 0}])

    assert {(400, 1201)} == {said(client, add, session_id=session, **body) for body in wrong} | {away}
    assert {(404, 1203)} == {
        said(client, f"{SELECT}/{what}-selection", session_id="1", frame_index=0, points=[point])
        for what in ("add", "delete", "clear", "preview")
    }


def test_an_image_is_looked_at(client: Client) -> None:
    """Each kind of thing is there or not, with a picture of what is; a bad image is refused at once."""
    path = "/v1/videos/image-recognize"
    good = data(client, path, image=base64.b64encode(picture(400, 300)).decode())["task_result"]["images"]
    prefixed = f"data:image/png;base64,{base64.b64encode(picture(400, 300)).decode()}"

    assert ["object_seg", "head_seg", "face_seg", "cloth_seg"] == [row["type"] for row in good]
    assert [True, False, False, False] == [row["is_contain"] for row in good]
    assert "image/png" == fetch(good[0]["url"]).headers["Content-Type"]
    assert {(400, 1201)} == {said(client, path, image=image) for image in (None, "aGVsbG8=", prefixed)}


def test_costs_are_what_was_spent() -> None:
    """Packs with what is left of them; an empty one is used up, and says no as its kind of account does."""
    with Emulator(Config(speed=2000, log=False, balance=1.05)) as poor, client_of(poor) as client:
        words = {"text": "hello", "voice_id": "v", "voice_language": "en"}
        client.finish(TEXT, prompt="a fox")
        data(client, "/v1/audio/tts", **words)
        times = {"start_time": 1, "end_time": 2}
        (pack,) = client.get("/account/costs", **times).json()["data"]["resource_pack_subscribe_infos"]
        none = client.get("/account/costs", **times, resource_pack_name="other").json()["data"]
        over = said(client, "/v1/audio/tts", **words)
        wrong = [
            client.get("/account/costs", **query).json()["code"] for query in ({}, {"start_time": 1, "end_time": 0})
        ]
    with Emulator(Config(speed=2000, log=False, balance=0, postpaid=True)) as owing, client_of(owing) as client:
        arrears = said(client, TEXT, prompt="a fox")

    assert (1.05, 0.0, "runOut") == (pack["total_quantity"], pack["remaining_quantity"], pack["status"])
    assert [] == none["resource_pack_subscribe_infos"]
    assert [1201, 1201] == wrong
    assert [(429, 1102), (429, 1101)] == [over, arrears]


def test_bodies_that_are_no_object_are_refused_here_too(client: Client) -> None:
    """What is no JSON object is 1201 before anything else is looked at."""
    url, bodies = client.emulator.url + "/v1/audio/tts", (b"", b"[]", b"{", b"7")
    answers = [client.session.post(url, data=body, timeout=PATIENCE) for body in bodies]

    assert [(400, 1201)] * 4 == [(answer.status_code, answer.json()["code"]) for answer in answers]


@given(st.integers(1, 40), st.integers(1, 40), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=4))
def test_run_lengths_are_the_mask(width: int, height: int, points: list[tuple[float, float]]) -> None:
    """Unpacked by COCO's rule, the counts give back every pixel of any mask."""
    image = masks.mask(width, height, points)
    columns = image.transpose(Image.Transpose.TRANSPOSE).tobytes()
    unpacked = b"".join(
        bytes([255 * (place % 2)]) * count for place, count in enumerate(_counts(masks.run_lengths(image)))
    )

    assert columns == unpacked


def _counts(text: str) -> list[int]:
    counts: list[int] = []
    number, shift = 0, 0
    for letter in text:
        group = ord(letter) - 48
        number |= (group & 0x1F) << shift
        shift += 5
        if not group & 0x20:
            number -= (1 << shift) if group & 0x10 else 0
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number, shift = 0, 0
    return counts
