"""Media that requests name, accounts that they name, and what they cost: seen before anything is sent."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from io import BytesIO

import pytest
import requests
from PIL import Image
from sqlalchemy import Engine

from infra import http
from infra.dial import Pace
from infra.emulator import Emulator
from infra.stack.servers import Servers
from tests.house import OMNI, TEXT, House, house
from tests.listener import server
from tests.unit.test_media import film
from worker import inputs
from worker.jobs.model import State

I2V = "/v1/videos/image2video"


def picture(width: int = 400, height: int = 300, kind: str = "PNG") -> bytes:
    """A real picture."""
    out = BytesIO()
    Image.new("RGB", (width, height), (90, 60, 120)).save(out, kind)
    return out.getvalue()


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A house with a second account, which is another gateway's, and a look at every URL, however long that takes."""
    monkeypatch.setattr(inputs, "_PROBE_SECONDS", 3600)
    other = {"KLING_URL_COMET": "cometapi://KEY@", "PROBE_URLS": "true", "KLING_PACE": "0.001"}
    with house(servers.addresses, engine, emulator, **other) as opened:
        yield opened


def image(home: House, value: str) -> str:
    """The message with which an image is refused; empty when it is taken."""
    shown = home.post({"image": value, "prompt": "x"}, I2V).json()
    return "" if shown["code"] == 0 else str(shown["message"])


def kept(home: House, name: str, body: bytes) -> str:
    """An s3:// reference to `body` in the bucket."""
    home.services.bucket.put(
        f"inputs/{name}", body, content_type="application/octet-stream", filename=name, metadata={}
    )
    return f"s3://{home.settings.s3_bucket}/inputs/{name}"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (picture(), ""),
        (picture(kind="JPEG"), ""),
        (picture(kind="WEBP"), "must be a JPG, JPEG or PNG picture"),
        (picture(299, 400), "at least 300 px"),
        (picture(800, 301), "ratio"),
        (b"certainly no picture", "must be a JPG, JPEG or PNG picture"),
        (picture()[:60], "must be a JPG, JPEG or PNG picture"),
        (picture() + b"\0" * 11 * 2**20, "at most 10 MB"),
    ],
)
def test_a_picture_is_looked_at_however_it_comes(home: House, body: bytes, says: str) -> None:
    """Base64, s3:// and http(s) are judged by the same limits, each with its field and what was found."""
    reference = kept(home, "picture", body)
    link = home.services.bucket.presign("inputs/picture", seconds=600)
    ways = [reference, link] if len(body) > 2**20 else [base64.b64encode(body).decode(), reference, link]
    for value in ways:
        message = image(home, value)
        assert says in message
        assert bool(says) == message.startswith("image: ")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("s3://another-bucket/key", "must be s3://"),
        ("s3://reelhook/inputs/nothing", "names no object"),
        ("http://127.0.0.1:9/x.png", "could not be fetched"),
        ("data:image/png;base64,AAAA", "leave out the data: prefix"),
        ("%%%", "not in a valid base64 format"),
    ],
)
def test_an_input_that_is_not_there_is_named(home: House, value: str, says: str) -> None:
    """Another's bucket, no object, no host, no base64: refused with the field before anything is sent."""
    assert says in image(home, value)


def test_slow_links_share_one_deadline(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many URLs a request names, the door waits for them no longer than for one; each is named."""
    asked: list[bytes] = []

    def clock() -> float:
        """Who is asked takes longer than there is."""
        return 3601.0 * len(asked)

    monkeypatch.setattr(inputs, "monotonic", clock)
    monkeypatch.setattr(http, "Pace", partial(Pace, clock=clock))

    def drip(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")
            while True:
                connection.sendall(b"x")
                time.sleep(0.02)

    with server(drip) as port:
        images = [{"image_url": f"http://127.0.0.1:{port}/{number}.png"} for number in range(4)]
        message = str(home.post({**TEXT, "image_list": images}).json()["message"])

    assert 4 == message.count("could not be fetched")
    assert 1 == len(asked)


def test_a_film_is_looked_at(home: House) -> None:
    """A reference video is judged by its own seconds, sides and rate, from the bucket and by its URL."""
    reference = kept(home, "film.mp4", film())
    body = {"prompt": "x", "video_list": [{"video_url": reference, "refer_type": "base"}]}
    message = str(home.post(body).json()["message"])

    assert "video_list[0].video_url: both sides must lie between" in message
    assert "must be 3 to 10 s long, found 1 s" in message


def test_a_reference_into_the_bucket_is_a_link_for_kling(home: House) -> None:
    """s3:// is presigned when the job is submitted: Kling fetches it, and the job ends archived."""
    reference = kept(home, "first.png", picture())
    job_id = str(home.post({"image": reference, "prompt": "s3://not/a/reference"}, I2V).json()["data"]["task_id"])

    assert [State.ARCHIVED] == home.until_end(job_id)


def test_an_account_is_asked_for_by_name(home: House) -> None:
    """The job keeps the account's name, and the account's own document judges it; an unknown name lists the known."""

    def ask(account: str, model: str) -> requests.Response:
        headers = {**home.headers, "Reelhook-Account": account}
        return requests.post(home.url + OMNI, json={**TEXT, "model_name": model}, headers=headers, timeout=30)

    comet = ask("comet", "kling-video-o1").json()["data"]["task_id"]

    assert home.get(f"/api/jobs/{comet}").json()["account"] == "comet"
    assert "model_name" in ask("comet", "kling-v3-omni").json()["message"]
    assert ask("default", "kling-v3-omni").json()["code"] == 0
    assert "default, comet" in ask("nobody", "kling-video-o1").json()["message"]


def test_a_job_of_an_account_that_was_removed_waits(home: House) -> None:
    """Jobs whose account is no longer configured are not lost and not sent elsewhere."""
    job_id = home.submit()
    home.services.provider.accounts.pop("default")  # type: ignore[attr-defined]  # the fault
    home.drain()

    assert home.state(job_id) is State.ACCEPTED


def test_how_strictly_is_the_caller_s_choice(home: House) -> None:
    """A duration as a number is tolerated, refused when asked strictly, and anything goes when sent as is."""

    def ask(check: str, **changes: object) -> int:
        headers = {**home.headers, "Reelhook-Check": check}
        answer = requests.post(home.url + OMNI, json={**TEXT, **changes}, headers=headers, timeout=30)
        return int(answer.json()["code"])

    assert [0, 1201, 0] == [ask(check, duration=5) for check in ("lenient", "strict", "off")]
    assert [1201, 0, 1201] == [ask("lenient", mode="best"), ask("off", mode="best"), ask("sometimes")]


def test_the_cost_is_known_before_and_after(home: House) -> None:
    """Units and list price by the table stand on the job beside what Kling deducted."""
    job_id = home.submit()
    before = home.get(f"/api/jobs/{job_id}").json()["cost"]
    home.until_end(job_id)
    after = home.get(f"/api/jobs/{job_id}").json()["cost"]

    assert {"expected_units": "3.0", "list_price_usd": "0.420", "final_unit_deduction": None} == before
    assert "3.0" == after["final_unit_deduction"]
