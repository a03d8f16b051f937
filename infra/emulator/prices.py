"""What a task costs in units (reference section 9)."""

from decimal import Decimal

from infra.emulator.ask import Ask

#: Model -> mode -> units a second: silent, with sound, with a video as input.
_SECOND: dict[str, dict[str, tuple[str, str, str]]] = {
    "kling-v3": {"std": ("0.6", "0.9", "0.9"), "pro": ("0.8", "1.2", "1.2"), "4k": ("3.0", "3.0", "3.0")},
    "kling-v3-omni": {"std": ("0.6", "0.8", "0.9"), "pro": ("0.8", "1.0", "1.2"), "4k": ("3.0", "3.0", "3.0")},
    "kling-video-o1": {"std": ("0.6", "0.6", "0.9"), "pro": ("0.8", "0.8", "1.2")},
    "kling-v2-6": {"std": ("0.3", "0.3", "0.5"), "pro": ("0.5", "1.0", "0.8")},
    "kling-v2-5-turbo": {"std": ("0.3", "0.3", "0.3"), "pro": ("0.5", "0.5", "0.5")},
    "kling-v2-1": {"std": ("0.4", "0.4", "0.4"), "pro": ("0.7", "0.7", "0.7")},
    "kling-v1-6": {"std": ("0.4", "0.4", "0.4"), "pro": ("0.7", "0.7", "0.7")},
    "kling-v1-5": {"std": ("0.4", "0.4", "0.4"), "pro": ("0.7", "0.7", "0.7")},
    "kling-v2-1-master": {"std": ("2.0", "2.0", "2.0"), "pro": ("2.0", "2.0", "2.0")},
    "kling-v2-master": {"std": ("2.0", "2.0", "2.0"), "pro": ("2.0", "2.0", "2.0")},
    "kling-v1": {"std": ("0.2", "0.2", "0.2"), "pro": ("0.7", "0.7", "0.7")},
}
#: Units a second with sound and a voice of one's own.
_VOICED = {("kling-v3", "std"): "1.1", ("kling-v3", "pro"): "1.4", ("kling-v2-6", "pro"): "1.2"}
#: Families whose price is not a model's: units a second.
_OTHER_SECOND = {"videos/avatar/image2video": "0.4", "videos/lip-sync": "0.1", "videos/advanced-lip-sync": "0.1"}
#: Image model -> units an image.
_IMAGE = {"kling-v1": "1", "kling-v2-1": "4"}
_PIECE = {"audio": "0.25", "element": "0", "voice": "0.05"}


def units(ask: Ask, seconds: float) -> str:
    """The cost of what `ask` made, as Kling's decimal string; video is billed in whole seconds."""
    if ask.family.kind == "image":
        return str(_per_image(ask) * ask.count)
    if ask.family.kind != "video":
        return str(Decimal(_PIECE[ask.family.kind]))
    return str(_per_second(ask) * max(1, round(seconds)))


def _per_image(ask: Ask) -> Decimal:
    if ask.model == "kling-v2-1" and ask.media("images"):
        return Decimal(8)
    if ask.text("resolution") == "4k":
        return Decimal(16)
    return Decimal(_IMAGE.get(ask.model, "8"))


def _per_second(ask: Ask) -> Decimal:
    if ask.family.path in _OTHER_SECOND:
        return Decimal(_OTHER_SECOND[ask.family.path])
    modes = _SECOND.get(ask.model, _SECOND["kling-v1-6"])
    silent, sounding, from_video = modes.get(ask.mode, modes["pro"])
    if ask.media("videos"):
        return Decimal(from_video)
    if ask.sound and ask.rows("voice_list"):
        return Decimal(_VOICED.get((ask.model, ask.mode), sounding))
    return Decimal(sounding if ask.sound else silent)
