"""How a frame is held by who looks at it: a film may say that its pictures lie on their side."""

from __future__ import annotations

from typing import Any


def turns(frame: Any) -> int:
    """Quarter turns to the left by which a frame is shown; of another angle the nearest. Source: ISO/IEC 14496-12,
    8.3.2 (matrix).
    """
    degrees: int = frame.rotation
    return round(degrees / 90) % 4


def sides(frame: Any) -> tuple[int, int]:
    """Width and height of what is shown, in pixels."""
    return (frame.height, frame.width) if turns(frame) % 2 else (frame.width, frame.height)
