"""Rules of camera_control and of the motion brush (R066, R067, R082, R084, R085)."""

from collections.abc import Mapping
from typing import Any

from infra.emulator.ask import Ask

_MOVES = ("simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward")
_AXES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")


def camera(ask: Ask) -> str | None:
    """Where a camera can be moved, and how."""
    control = ask.get("camera_control")
    if control is None:
        return None
    if control.get("type") not in _MOVES:
        return "camera_control type is invalid"
    if ask.family.path == "videos/text2video":
        able = (ask.model, ask.mode, ask.duration) == ("kling-v1", "std", 5)
    else:
        able = (ask.model, ask.mode, ask.duration, control["type"]) == ("kling-v1-5", "pro", 5, "simple")
    if not able:
        return f"model/mode/duration({ask.model}/{ask.mode}/{ask.duration:g}) is not supported with camera_control"
    return _config(control)


def _config(control: Mapping[str, Any]) -> str | None:
    config = control.get("config")
    if control["type"] != "simple":
        return "camera_control config must be empty for this type" if config else None
    if not config:
        return "camera_control config can not be null"
    values = [config.get(axis) or 0 for axis in _AXES]
    if any(not -10 <= value <= 10 for value in values):
        return "camera_control config values must be between -10 and 10"
    # That all are 0 is disputed: a demo of others asks for one at least, the reference for one at most.
    moved = sum(value != 0 for value in values)
    return None if moved <= 1 else "camera_control config must have one value that is not 0"


def masks(ask: Ask) -> str | None:
    """R082, R084: brush, last frame and camera exclude each other."""
    brushes = ask.rows("dynamic_masks")
    brushed = bool(brushes or ask.get("static_mask"))
    if sum((brushed, bool(ask.get("image_tail")), ask.get("camera_control") is not None)) > 1:
        return "image_tail, masks and camera_control are mutually exclusive"
    if not brushed:
        return None
    able = ask.duration == 5 and (ask.model == "kling-v1" or (ask.model, ask.mode) == ("kling-v1-5", "pro"))
    if not able:
        return f"model/mode/duration({ask.model}/{ask.mode}/{ask.duration:g}) is not supported with masks"
    return _brushes(brushes)


def _brushes(brushes: tuple[Any, ...]) -> str | None:
    if len(brushes) > 6:
        return "dynamic_masks must have at most 6 entries"
    if not all(brush.get("mask") for brush in brushes):
        return "mask can not be null"
    if not all(2 <= len(brush.get("trajectories") or ()) <= 77 for brush in brushes):
        return "trajectories must have 2 to 77 points"
    points = [point for brush in brushes for point in brush["trajectories"]]
    return None if all({"x", "y"} <= point.keys() for point in points) else "trajectories are invalid"
