"""The emulator as its users meet it: over HTTP, on a loopback port."""

import base64
import threading
import time
import uuid
from typing import Any

import jwt
import requests

from infra.emulator import Config, Emulator
from tests.integration.emulator_kit import (
    IMAGE,
    OMNI,
    SPEED,
    TEXT,
    Client,
    Facts,
    Json,
    ended,
    facts,
    fetch,
    picture,
    until,
    video_of,
)


def signed(emulator: Emulator, **claims: Any) -> str:
    """A token as Kling's sample code makes it, with some claims changed."""
    now = int(time.time())
    body = {"iss": emulator.config.access_key, "exp": now + 1800, "nbf": now - 5, **claims}
    return jwt.encode(body, emulator.config.secret_key, algorithm="HS256")


def held(emulator: Emulator) -> threading.Event:
    """Set, it lets what the emulator has to make be made. Until then no task comes to its end, however long that is."""
    studio, let = emulator._stage.studio, threading.Event()
    make = studio.make

    def waits(*what: Any) -> Any:
        assert let.wait(200)
        return make(*what)

    studio.__dict__["make"] = waits
    return let


def test_a_task_goes_from_submitted_over_processing_to_a_real_video(emulator: Emulator) -> None:
    """A create is answered `submitted`; queries say `processing`, then `succeed` with an MP4 as it was asked for."""
    with Emulator(Config(speed=500, log=False)) as slower:
        client, made_now = Client(slower), held(slower)
        body = {"model_name": "kling-v3-omni", "prompt": "a fox", "aspect_ratio": "9:16", "mode": "pro", "sound": "on"}
        answer = client.post(OMNI, **body, duration="3", external_task_id="mine").json()
        seen: list[str] = [answer["data"]["task_status"]]
        task_id = answer["data"]["task_id"]
        while "succeed" not in seen:
            task = client.task(OMNI, task_id)
            seen += [task["task_status"]] if task["task_status"] != seen[-1] else []
            if "processing" in seen:
                made_now.set()
        video = video_of(task)
        made = facts(fetch(video["url"]).content)
        client.session.close()

    assert ["submitted", "processing", "succeed"] == seen
    assert (0, "SUCCEED") == (answer["code"], answer["message"])
    assert 4 == uuid.UUID(answer["request_id"]).version
    assert Facts((1080, 1920), "h264", "yuv420p", 24.0, 3.0, "aac", 72) == made
    assert ("3", "3.0") == (video["duration"], task["final_unit_deduction"])
    assert answer["data"]["created_at"] == answer["data"]["updated_at"] == task["created_at"] < task["updated_at"]
    assert task_id.isdecimal()
    assert 18 <= len(task_id) <= 19
    assert task_id != video["id"]


def test_who_may_ask(client: Client) -> None:
    """No, wrong, early and late credentials have codes of their own; key and token both open."""
    now = int(time.time())
    emulator = client.emulator
    tries = {
        None: 1001,
        "Bearer wrong": 1002,
        f"Bearer  {emulator.config.api_key}": 1002,
        f"Basic {emulator.config.api_key}": 1002,
        f"Bearer {signed(emulator, iss='other')}": 1002,
        f"Bearer {signed(emulator)[:-4]}AAAA": 1002,
        f"Bearer {signed(emulator, nbf=now + 60)}": 1003,
        f"Bearer {signed(emulator, exp=now - 1)}": 1004,
        f"Bearer {signed(emulator)}": 0,
        f"Bearer {emulator.config.api_key}": 0,
    }
    answers = {
        header: requests.get(emulator.url + TEXT, headers={"Authorization": header} if header else {}, timeout=60)
        for header in tries
    }

    assert tries == {header: answer.json()["code"] for header, answer in answers.items()}
    assert {401, 200} == {answer.status_code for answer in answers.values()}


def test_both_ids_and_both_prefixes_find_a_task(client: Client) -> None:
    """A task is found by its own id and by the caller's, within its family, with and without a gateway's prefix."""
    name = f"mine-{uuid.uuid4()}"
    task_id = client.create(TEXT, prompt="a fox", external_task_id=name)
    paths = [f"{prefix}{TEXT}/{one}" for prefix in ("", "/kling") for one in (task_id, name, f"{name}/")]

    found = [client.get(path).json()["data"]["task_id"] for path in paths]
    other = client.get(f"{OMNI}/{task_id}")

    assert [task_id] * 6 == found
    assert (404, 1203) == (other.status_code, other.json()["code"])


def test_unknown_paths_and_methods(client: Client) -> None:
    """Unknown paths are 1203, wrong methods on known ones 1202, both 404."""
    unknown = client.get("/v1/videos/nothing")
    wrong = client.session.put(client.emulator.url + TEXT, json={}, timeout=60)
    posted = client.post(f"{TEXT}/123")

    assert (404, 1203) == (unknown.status_code, unknown.json()["code"])
    assert (404, 1202) == (wrong.status_code, wrong.json()["code"])
    assert (404, 1202) == (posted.status_code, posted.json()["code"])


def test_lists_are_paged_newest_first() -> None:
    """A list is a bare array of what queries show; pages follow each other, and limits are kept."""
    with Emulator(Config(speed=SPEED, log=False)) as fresh:
        client = Client(fresh)
        made = [client.create(TEXT, prompt=f"fox {number} [fate: fail]") for number in range(5)]
        pages = [
            [task["task_id"] for task in client.get(TEXT, pageNum=number, pageSize=2).json()["data"]]
            for number in (1, 2, 3, 4)
        ]
        bad = [client.get(TEXT, **query).json()["code"] for query in ({"pageNum": 0}, {"pageSize": 501})]
        client.session.close()

    assert [made[4:2:-1], made[2:0:-1], made[:1], []] == pages
    assert made == sorted(made)
    assert [1201, 1201] == bad


def test_slots_are_counted_per_pack() -> None:
    """A task holds its slots until it ends, images hold n, and kinds do not share."""
    with Emulator(Config(speed=SPEED, log=False, concurrency=3)) as narrow:
        client, made_now = Client(narrow), held(narrow)
        for _ in range(3):
            client.create(TEXT, prompt="a fox")
        over = client.post(TEXT, prompt="a fox")
        image = client.create("/v1/images/generations", prompt="a fox", n=2)
        full = client.post("/v1/images/generations", prompt="a fox", n=2)
        made_now.set()
        until(lambda: ended(client.task("/v1/images/generations", image)))
        freed = client.post("/v1/images/generations", prompt="a fox", n=3)
        client.session.close()

    assert (429, 1303, "parallel task over resource pack limit") == (
        over.status_code,
        over.json()["code"],
        over.json()["message"],
    )
    assert [1303, 0] == [full.json()["code"], freed.json()["code"]]


def test_a_balance_runs_out() -> None:
    """Running and finished tasks use the balance up; bad parameters are told first; failures cost nothing."""
    with Emulator(Config(speed=SPEED, log=False, balance=2.0)) as poor:
        client = Client(poor)
        client.finish(TEXT, prompt="a fox [fate: fail]")
        client.finish(TEXT, prompt="a fox")
        client.create(TEXT, prompt="a fox")
        empty, wrong = client.post(TEXT, prompt="a fox"), client.post(TEXT, prompt="")
        client.session.close()

    assert (429, 1102, "Account balance not enough") == (
        empty.status_code,
        empty.json()["code"],
        empty.json()["message"],
    )
    assert 1201 == wrong.json()["code"]


def test_recorded_complaints(client: Client) -> None:
    """The texts that the live service was seen to send."""
    data = "data:image/png;base64," + base64.b64encode(picture(300, 300)).decode()
    client.create(TEXT, prompt="a fox", external_task_id="twice")
    asked: list[tuple[str, Json]] = [
        (IMAGE, {"prompt": "a fox"}),
        (IMAGE, {"prompt": "a fox", "image": data}),
        (TEXT, {"prompt": "a fox", "model_name": "kling-v2-6", "mode": "std", "sound": "on"}),
        (IMAGE, {"prompt": "a", "image": "http://h/a", "image_tail": "http://h/b", "model_name": "kling-v2-5-turbo"}),
        (OMNI, {"prompt": "a fox", "aspect_ratio": "1:1", "duration": "7"}),
        (TEXT, {"prompt": "a fox", "external_task_id": "twice"}),
    ]
    answers = [client.post(path, **body) for path, body in asked]

    assert {(400, 1201)} == {(answer.status_code, answer.json()["code"]) for answer in answers}
    assert [
        "image can not be null",
        "File is not in a valid base64 format",
        "model/mode(kling-v2-6/std) is not supported with sound on",
        "model/mode/duration(kling-v2-5-turbo/std/5) is not supported with image_tail",
        "Duration only supports 5 or 10 seconds when no refer_image is provided",
        "external_task_id 'twice' already exists",
    ] == [answer.json()["message"] for answer in answers]


def test_bodies_that_are_no_object(client: Client) -> None:
    """What is not a JSON object is refused, whatever its type says, and the connection stays usable."""
    bodies = [b"", b"[]", b"{", b"\xff", b"[" * 100_000]
    answers = [client.session.post(client.emulator.url + TEXT, data=body, timeout=60) for body in bodies]

    assert [(400, 1201)] * 5 == [(answer.status_code, answer.json()["code"]) for answer in answers]
    assert "data" not in answers[0].json()
