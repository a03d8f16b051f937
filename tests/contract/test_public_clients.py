"""Two public clients of Kling, by others, as they speak on the wire: facts read off them, none of their code.

Both were run by hand against the door with their files as published; only host and credentials were set.
* klingai-api 0.1.0 (PyPI; says that it wants Python 3.14, so no dependency here; run on 3.11, its host set from
  outside: it has no setting for it). One token a session: iss, exp in 1800 s, nbf 5 s ago. It begins by asking for the
  account's costs and gives up at 401; then it reads `data` of create, query and list.
* kling-api 1.0.0 (npm; https only, so through a TLS proxy). Its JWT library adds `iat`. It sends pictures as bare
  base64, takes `code`, `message` and `request_id` out of errors, and waits until `data.task_status` says that it ended.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import jwt
import pytest
import requests
from PIL import Image
from sqlalchemy import Engine

from infra.emulator import Config, Emulator
from infra.stack.servers import Servers
from tests.house import House, house
from worker.jobs.model import State
from worker.services import now

TEXT = "/v1/videos/text2video"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """A Kling whose minutes are moments."""
    with Emulator(Config(speed=3000, log=False)) as running:
        yield running


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator) -> Iterator[House]:
    """A house with an account at the emulator."""
    with house(servers.addresses, engine, emulator, KLING_PACE="0.001") as opened:
        yield opened


def session(home: House, **claims: int) -> requests.Session:
    """A client that signs once, with the name and the key of an API key as its two credentials."""
    key, at = home.services.keys.create("access-key", now()), int(time.time())
    token = jwt.encode({"iss": "access-key", "exp": at + 1800, "nbf": at - 5, **claims}, key, algorithm="HS256")
    made = requests.Session()
    made.headers["Authorization"] = f"Bearer {token}"
    return made


def test_klingai_api_creates_waits_and_lists(home: House) -> None:
    """Costs first; a task by our id and its own; the list; a refusal is 400, a wrong secret 401 at the first call."""
    with session(home) as client:
        span = {"start_time": int(time.time() * 1000) - 1000, "end_time": int(time.time() * 1000)}
        costs = client.get(f"{home.url}/account/costs", params=span, timeout=100)
        body: dict[str, Any] = {
            "model_name": "kling-v1", "prompt": "a cat", "mode": "std", "aspect_ratio": "16:9", "duration": "5",
            "external_task_id": "order-1",
        }  # fmt: skip
        job = client.post(home.url + TEXT, json=body, timeout=100).json()["data"]["task_id"]
        assert [State.ARCHIVED] == home.until_end(job)
        found = [client.get(f"{home.url}{TEXT}/{name}", timeout=100).json()["data"] for name in (job, "order-1")]
        listed = client.get(home.url + TEXT, params={"pageNum": 1, "pageSize": 30}, timeout=100).json()["data"]
        refused = client.post(home.url + TEXT, json={**body, "duration": "7"}, timeout=100)
        wrong = client.get(f"{home.url}/account/costs", headers={"Authorization": "Bearer a.b.c"}, timeout=100)

    assert [200, 400, 401] == [answer.status_code for answer in (costs, refused, wrong)]
    assert [(job, "succeed")] * 2 == [(task["task_id"], task["task_status"]) for task in found]
    assert requests.get(found[0]["task_result"]["videos"][0]["url"], timeout=100).content[4:8] == b"ftyp"
    assert [job] == [task["task_id"] for task in listed]


def test_kling_api_sends_pictures_and_reads_errors(home: House) -> None:
    """A token with iat; a picture as bare base64; an error has the code, the message and the id that it shows."""
    picture = BytesIO()
    Image.new("RGB", (512, 512)).save(picture, "PNG")
    body = {"model_name": "kling-v2-1", "image": base64.b64encode(picture.getvalue()).decode(), "duration": "5"}
    with session(home, iat=int(time.time())) as client:
        made = client.post(f"{home.url}/v1/videos/image2video", json=body, timeout=100).json()
        refused = client.post(home.url + TEXT, json={"prompt": "a cat", "model_name": "none"}, timeout=100).json()
        assert [State.ARCHIVED] == home.until_end(made["data"]["task_id"])

    assert (0, "submitted") == (made["code"], made["data"]["task_status"])
    assert (1201, True, True) == (refused["code"], "model_name" in refused["message"], bool(refused["request_id"]))
