"""Rules of camera_control and of the motion brush (R066, R067, R082, R084, R085)."""

from collections.abc import Mapping

from infra.emulator.ask import Ask

_MOVES = ("simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward")
_AXES = {"horizontal", "vertical", "pan", "tilt", "roll", "zoom"}


def camera(ask: Ask) -> str | None:
    """Where a camera can be moved, and how."""
    control = ask.get("camera_control")
    if control is None:
        return None
    if not isinstance(control, Mapping) or control.get("type") not in _MOVES:
        return "camera_control type is invalid"
    if ask.family.path == "videos/text2video":
        able = (ask.model, ask.mode, ask.duration) == ("kling-v1", "std", 5)
    else:
        able = (ask.model, ask.mode, ask.duration, control["type"]) == ("kling-v1-5", "pro", 5, "simple")
    if not able:
        return f"model/mode/duration({ask.model}/{ask.mode}/{ask.duration:g}) is not supported with camera_control"
    return _config(control)


def _config(control: Mapping[str, object]) -> str | None:
    config = control.get("config")
    if control["type"] != "simple":
        return "camera_control config must be empty for this type" if config else None
    if not isinstance(config, Mapping) or not set(config) <= _AXES:
        return "camera_control config is invalid"
    values = [value for value in config.values() if isinstance(value, int | float)]
    if len(values) != len(config) or any(not -10 <= value <= 10 for value in values):
        return "camera_control config values must be between -10 and 10"
    moved = sum(value != 0 for value in values)
    return None if moved == 1 else "camera_control config must have exactly one value that is not 0"


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
    if len(brushes) > 6:
        return "dynamic_masks must have at most 6 entries"
    paths = [brush.get("trajectories") for brush in brushes]
    if not all(isinstance(path, list) and 2 <= len(path) <= 77 for path in paths):
        return "trajectories must have 2 to 77 points"
    return None
