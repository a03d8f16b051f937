"""Sessions of multi-elements and of faces: what was marked in which frame of which video. They live for 24 hours."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from infra.emulator.inputs import Footage
from infra.emulator.wire import Refusal

Point = tuple[float, float]
_LIFE_SECONDS = 24 * 3600
_FRAMES = 10
_POINTS = 10


@dataclass
class Session:
    """A video, and the points that were set in it: frame -> points, x and y from 0 to 1."""

    footage: Footage
    url: str
    ends: float
    marked: dict[int, list[Point]] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """How many frames the video has."""
        return max(1, round(self.footage.seconds * self.footage.rate))

    def mark(self, frame: int, points: list[Point]) -> None:
        """Set points in a frame; Refusal 1201 beyond 10 frames or 10 points a frame."""
        there = self.marked.get(frame, [])
        if len(there) + len(points) > _POINTS or (not there and len(self.marked) >= _FRAMES):
            raise Refusal(1201, f"at most {_FRAMES} frames can be marked, with at most {_POINTS} points each")
        self.marked[frame] = there + points

    def unmark(self, frame: int, points: list[Point]) -> None:
        """Take points out of a frame; Refusal 1201 for a point that was not set."""
        left = list(self.marked.get(frame, []))
        for point in points:
            if point not in left:
                raise Refusal(1201, f"point {point} is not marked in frame {frame}")
            left.remove(point)
        self.marked[frame] = left
        if not left:
            del self.marked[frame]


class Sessions:
    """All sessions of one emulator."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def open(self, session_id: str, footage: Footage, url: str) -> Session:
        """A new session."""
        session = Session(footage, url, time.time() + _LIFE_SECONDS)
        with self._lock:
            self._sessions[session_id] = session
        return session

    @contextmanager
    def at(self, session_id: str) -> Iterator[Session]:
        """A session, for as long as nobody else may change it; Refusal 1203 if there is none, or no longer."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None or session.ends < time.time():
                raise Refusal(1203, f"session '{session_id}' is not found")
            yield session
