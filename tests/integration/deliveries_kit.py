"""Deliveries of jobs that have just ended, and the work that sends them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import requests

from tests.house import House
from worker.jobs.machine import Event
from worker.store.repository import NewJob


def ended(home: House, name: str, url: str, theirs: str | None = None) -> str:
    """A job that has just failed and is to be told to `url`; its delivery's id. `theirs`: its external_task_id."""
    new = NewJob(name, "default", "default", "videos/omni-video", theirs, url, b"f", b"{}")
    job = home.services.store.accept(new, home.clock())[0]
    moved = home.services.store.move(job, Event.SUBMIT_REFUSED, home.clock())
    assert moved is not None
    return moved.deliveries[0]


def work(home: House, ahead: float = 0) -> None:
    """Let time pass, sweep, and do what is to be done."""
    home.clock.ahead += timedelta(seconds=ahead)
    home.sweep()
    home.drain()


def ask(home: House, method: str, path: str, body: Any = None) -> requests.Response:
    """Ask the door."""
    return requests.request(method, f"{home.url}/api{path}", json=body, headers=home.headers, timeout=30)


def told(home: House, delivery: str) -> tuple[str, list[int | None]]:
    """A delivery's state, and what came of each of its attempts."""
    shown = ask(home, "GET", f"/deliveries/{delivery}").json()
    return shown["state"], [one["status"] for one in shown["tried"]]
