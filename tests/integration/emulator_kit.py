"""What the tests of the emulator share: a client of a few lines, and a server beside it."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import av
import requests
from PIL import Image

from infra.emulator import Config, Emulator

SPEED = 2000.0
#: Seconds that nothing here takes unless it hangs: a film is rendered in two, or in twenty where others render, too.
PATIENCE = 100
OMNI = "/v1/videos/omni-video"
TEXT = "/v1/videos/text2video"
IMAGE = "/v1/videos/image2video"
Json = dict[str, Any]
Found = TypeVar("Found")


@dataclass
class Neighbour:
    """A server beside the emulator: takes callbacks, serves what is put on it."""

    url: str = ""
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    received: list[tuple[float, str, Json]] = field(default_factory=list)
    types: list[str | None] = field(default_factory=list)
    #: Statuses of the next answers to callbacks; 200 when none is left.
    answers: list[int] = field(default_factory=list)
    #: Called with each callback, before it is answered.
    on_callback: Callable[[Json], None] = lambda _: None

    def statuses(self, path: str = "/") -> list[str]:
        """The statuses that came in at a path, in order."""
        return [body["task_status"] for _, where, body in self.received if where == path]


@contextmanager
def fast_emulator() -> Iterator[Emulator]:
    """One fast emulator."""
    with Emulator(Config(speed=SPEED, log=False, concurrency=100)) as running:
        yield running


@contextmanager
def neighbour_of(beside: Neighbour) -> Iterator[Neighbour]:
    """`beside`, running."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            beside.types.append(self.headers["Content-Type"])
            beside.on_callback(body)
            beside.received.append((time.time(), self.path, body))
            self.send_response(beside.answers.pop(0) if beside.answers else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            kind, content = beside.files.get(self.path, ("text/plain", b""))
            self.send_response(200 if content else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        beside.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield beside
        server.shutdown()
        thread.join()


class Client:
    """A Kling client of a few lines."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {emulator.config.api_key}"

    def post(self, path: str, **body: Any) -> requests.Response:
        """Send a body."""
        return self.session.post(self.emulator.url + path, json=body, timeout=PATIENCE)

    def get(self, path: str, **query: Any) -> requests.Response:
        """Ask."""
        return self.session.get(self.emulator.url + path, params=query, timeout=PATIENCE)

    def create(self, path: str, **body: Any) -> str:
        """Create a task that must be accepted; its id."""
        answer = self.post(path, **body).json()
        assert answer["code"] == 0, answer
        return str(answer["data"]["task_id"])

    def task(self, path: str, task_id: str) -> Json:
        """A task as queried."""
        data: Json = self.get(f"{path}/{task_id}").json()["data"]
        return data

    def finish(self, path: str, **body: Any) -> Json:
        """Create, and wait for the end."""
        task_id = self.create(path, **body)
        return until(lambda: ended(self.task(path, task_id)))

    def faults(self, *orders: Json) -> None:
        """Queue faults."""
        requests.post(f"{self.emulator.url}/_emulator/faults", json=list(orders), timeout=PATIENCE).raise_for_status()

    def state(self) -> Json:
        """What the emulator reports."""
        state: Json = requests.get(f"{self.emulator.url}/_emulator/state", timeout=PATIENCE).json()
        return state


@contextmanager
def client_of(emulator: Emulator) -> Iterator[Client]:
    """A client; no fault outlives it."""
    one = Client(emulator)
    with one.session:
        yield one
    requests.delete(f"{emulator.url}/_emulator/faults", timeout=PATIENCE).raise_for_status()


def ended(task: Json) -> Json | None:
    """The task if it is final."""
    return task if task["task_status"] in {"succeed", "failed"} else None


def until(condition: Callable[[], Found | None], seconds: float = PATIENCE) -> Found:
    """What `condition` gives as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


def video_of(task: Json) -> Json:
    """The only video of a finished task."""
    assert task["task_status"] == "succeed", task
    (video,) = task["task_result"]["videos"]
    return dict(video)


@dataclass(frozen=True)
class Facts:
    """What PyAV says of an MP4."""

    size: tuple[int, int]
    codec: str
    pixels: str | None
    rate: float
    seconds: float
    sound: str | None
    frames: int


def facts(content: bytes) -> Facts:
    """Decode every frame, and tell."""
    with av.open(io.BytesIO(content), "r") as container:
        video = container.streams.video[0]
        sound = container.streams.audio[0].codec.name if container.streams.audio else None
        seconds = float((video.duration or 0) * (video.time_base or 0))
        frames = len(list(container.decode(video)))
        rate = float(video.average_rate or 0)
        return Facts((video.width, video.height), video.codec.name, video.pix_fmt, rate, seconds, sound, frames)


def fetch(url: str, **headers: str) -> requests.Response:
    """A file as anybody gets it: without a key."""
    return requests.get(url, headers=headers, timeout=PATIENCE)


def picture(width: int, height: int, kind: str = "PNG") -> bytes:
    """An image file."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (40, 90, 160)).save(file, kind)
    return file.getvalue()
