"""The synchronous part of multi-elements: mark what is to be edited, frame by frame (reference section 2.6)."""

from collections.abc import Mapping
from typing import Any

from infra.emulator.desk import Desk, id_of, number
from infra.emulator.inputs import VIDEO_RATE, VIDEO_SECONDS, VIDEO_SHAPE
from infra.emulator.sessions import Point, Session
from infra.emulator.wire import Refusal

Body = Mapping[str, Any]
#: Seconds, with the allowance of a frame; sides; frames a second.
_LENGTHS = ((1.95, 5.05), (6.95, 10.05))
_SIDES = (720, 2160)
_RATES = (24, 30, 60)
#: `status` of all that succeeded; another one says that the recognition refused.
_WELL = 0


def init(desk: Desk, body: Body) -> Any:
    """Begin a session."""
    footage, url = desk.film(body)
    sides = (footage.width, footage.height)
    if not _SIDES[0] <= min(sides) <= max(sides) <= _SIDES[1]:
        raise Refusal(1201, VIDEO_SHAPE)
    if not any(low <= footage.seconds <= high for low, high in _LENGTHS):
        raise Refusal(1201, VIDEO_SECONDS)
    if not any(abs(footage.rate - rate) < 0.1 for rate in _RATES):
        raise Refusal(1201, VIDEO_RATE)
    session_id = desk.mint()
    session = desk.sessions.open(session_id, footage, url)
    return {
        "status": _WELL, "session_id": session_id, "fps": footage.rate, "width": footage.width,
        "height": footage.height, "original_duration": round(footage.seconds * 1000), "total_frame": session.frames,
        "normalized_video": url,
    }  # fmt: skip


def add(desk: Desk, body: Body) -> Any:
    """Mark points in a frame."""
    session_id = id_of(body, "session_id")
    with desk.sessions.at(session_id) as session:
        frame = _frame(session, body)
        session.mark(frame, _points(body))
        return _marked(session_id, session, frame)


def delete(desk: Desk, body: Body) -> Any:
    """Take points back."""
    session_id = id_of(body, "session_id")
    with desk.sessions.at(session_id) as session:
        frame = _frame(session, body)
        session.unmark(frame, _points(body))
        return _marked(session_id, session, frame)


def clear(desk: Desk, body: Body) -> Any:
    """Take everything back."""
    session_id = id_of(body, "session_id")
    with desk.sessions.at(session_id) as session:
        session.marked.clear()
    return {"status": _WELL, "session_id": session_id}


def preview(desk: Desk, body: Body) -> Any:
    """Show what is marked. Only the cover shows it: the video is the session's own."""
    session_id = id_of(body, "session_id")
    with desk.sessions.at(session_id) as session:
        if not session.marked:
            raise Refusal(1201, "nothing is marked in this session")
        points = [point for there in session.marked.values() for point in there]
        footage, url = session.footage, session.url
    from infra.emulator import masks  # noqa: PLC0415 - Pillow loads when first needed

    shown = masks.mask(footage.width, footage.height, points)
    assert footage.still
    cover = masks.painted(footage.still.path, shown)
    found = {"video": url, "video_cover": desk.studio.picture(cover), "tracking_output": desk.studio.picture(shown)}
    return {"status": _WELL, "session_id": session_id, "res": found}


def _frame(session: Session, body: Body) -> int:
    frame = number(body, "frame_index", 0, session.frames - 1)
    if not isinstance(frame, int):
        raise Refusal(1201, "frame_index is invalid")
    return frame


def _points(body: Body) -> list[Point]:
    points = body.get("points")
    if not isinstance(points, list) or not points or not all(isinstance(point, Mapping) for point in points):
        raise Refusal(1201, "points can not be null")
    return [(number(point, "x", 0, 1), number(point, "y", 0, 1)) for point in points]


def _marked(session_id: str, session: Session, frame: int) -> Any:
    from infra.emulator import masks  # noqa: PLC0415 - as in `preview`

    points, footage = session.marked.get(frame, []), session.footage
    found = [masks.described(masks.mask(footage.width, footage.height, points))] if points else []
    return {"status": _WELL, "session_id": session_id, "res": {"frame_index": frame, "rle_mask_list": found}}
