"""The demo's own client of the door, and the receiver of its callbacks: HTTP only, as a caller elsewhere would."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import requests

from infra.stack.demo_requests import Asked

_SECONDS = 30.0
_LONGEST_BODY = 2**20


class Refused(Exception):
    """The door did not take a request, or answered what it should not have."""


class Door:
    """Calls with the API key."""

    def __init__(self, url: str, api_key: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy stands between us and loopback
        self._session.headers["Authorization"] = f"Bearer {api_key}"

    def submit(self, asked: Asked) -> str:
        """Our task id. Raises `Refused` with the door's own words."""
        answer = self._session.post(self._url + asked.path, json=asked.body, timeout=_SECONDS)
        return str(self._data(answer)["task_id"])

    def job(self, task_id: str) -> dict[str, Any]:
        """The job as `/api/jobs` shows it."""
        answer = self._session.get(f"{self._url}/api/jobs/{task_id}", timeout=_SECONDS)
        if not answer.ok:
            raise Refused(f"GET /api/jobs/{task_id}: {answer.status_code} {answer.text[:300]}")
        shown: dict[str, Any] = answer.json()
        return shown

    def task(self, asked: Asked, task_id: str) -> dict[str, Any]:
        """The task as Kling's own API shows it."""
        return self._data(self._session.get(f"{self._url}{asked.path}/{task_id}", timeout=_SECONDS))

    def _data(self, answer: requests.Response) -> dict[str, Any]:
        try:
            envelope = answer.json()
            if answer.ok and envelope["code"] == 0:
                data: dict[str, Any] = envelope["data"]
                return data
        except (ValueError, KeyError, TypeError):
            pass  # no envelope: shown as it came
        raise Refused(f"{answer.status_code} {answer.text[:300]}")


class Receiver:
    """A receiver of callbacks on loopback, as a context. Keeps each body that it was sent, by task id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received: dict[str, list[dict[str, Any]]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/told"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="receiver", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def success(self, task_id: str) -> dict[str, Any] | None:
        """What said that the task succeeded, if anything has."""
        with self._lock:
            told = list(self._received.get(task_id, ()))
        return next((body for body in told if body.get("task_status") == "succeed"), None)

    def _take(self, raw: bytes) -> int:
        try:
            body = json.loads(raw)
            task_id = str(body["task_id"])
        except (ValueError, KeyError, TypeError):
            return 400
        with self._lock:
            self._received.setdefault(task_id, []).append(body)
        return 204

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = min(int(self.headers.get("Content-Length", 0)), _LONGEST_BODY)
                self.send_response(take(self.rfile.read(length)))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing: the terminal is the demo's."""

        return Handler
