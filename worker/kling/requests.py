"""The bodies of Kling's requests, one frozen model a family. Source: spec section 2.

They say of which type a field is, and nothing else: what may stand in it, and beside what, is said by rules. So every
field may be absent here, and keys that no edition knows are kept. JSON null reads as absent, as for the vendor's own
clients. Numbers that came as strings, and durations that came as numbers, are let in and judged by rules R008.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Text = str | None
Number = float | None
#: Documented as a string, sent as a number by some.
Duration = str | int | None
#: Documented as a number, sent as a string by some official samples.
Count = int | str | None
#: Documented as a boolean, sent as a string by an official sample.
Flag = bool | str | None
#: 64-bit ids: numbers in the documents, strings with gateways.
Id = int | str | None


#: No list of Kling's has more than 77 entries; a bound here keeps a hostile body cheap to refuse.
_MANY = Field(max_length=1000)


class _Frozen(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="allow")


class Watermark(_Frozen):
    """`watermark_info`."""

    enabled: bool


class Shot(_Frozen):
    """One entry of `multi_prompt`."""

    index: Count = None
    prompt: Text = None
    duration: Duration = None


class Element(_Frozen):
    """One entry of `element_list`."""

    element_id: Id = None


class OmniImageRef(_Frozen):
    """One entry of omni-video's `image_list`."""

    image_url: Text = None
    type: Text = None


class VideoRef(_Frozen):
    """One entry of `video_list`."""

    video_url: Text = None
    refer_type: Text = None
    keep_original_sound: Text = None


class ImageRef(_Frozen):
    """One entry of the other families' `image_list`."""

    image: Text = None


class Voice(_Frozen):
    """One entry of `voice_list`."""

    voice_id: Id = None


class Point(_Frozen):
    """One point of a trajectory, in pixels from the bottom left."""

    x: int
    y: int


class DynamicMask(_Frozen):
    """One brush."""

    mask: Text = None
    trajectories: Annotated[list[Point], _MANY] | None = None


class CameraConfig(_Frozen):
    """How a simple camera moves."""

    horizontal: Number = None
    vertical: Number = None
    pan: Number = None
    tilt: Number = None
    roll: Number = None
    zoom: Number = None


class Camera(_Frozen):
    """`camera_control`."""

    type: Text = None
    config: CameraConfig | None = None


class Request(_Frozen):
    """What every family takes."""

    model_name: Text = None
    callback_url: Text = None
    external_task_id: Text = None
    watermark_info: Watermark | None = None


class _Shots(Request):
    prompt: Text = None
    multi_shot: Flag = None
    shot_type: Text = None
    multi_prompt: Annotated[list[Shot], _MANY] | None = None
    mode: Text = None
    duration: Duration = None
    sound: Text = None


class OmniVideo(_Shots):
    """videos/omni-video."""

    image_list: Annotated[list[OmniImageRef], _MANY] | None = None
    element_list: Annotated[list[Element], _MANY] | None = None
    video_list: Annotated[list[VideoRef], _MANY] | None = None
    aspect_ratio: Text = None


class TextToVideo(_Shots):
    """videos/text2video."""

    negative_prompt: Text = None
    voice_list: Annotated[list[Voice], _MANY] | None = None
    cfg_scale: Number = None
    camera_control: Camera | None = None
    aspect_ratio: Text = None


class ImageToVideo(_Shots):
    """videos/image2video."""

    image: Text = None
    image_tail: Text = None
    negative_prompt: Text = None
    element_list: Annotated[list[Element], _MANY] | None = None
    voice_list: Annotated[list[Voice], _MANY] | None = None
    cfg_scale: Number = None
    static_mask: Text = None
    dynamic_masks: Annotated[list[DynamicMask], _MANY] | None = None
    camera_control: Camera | None = None


class MultiImageToVideo(Request):
    """videos/multi-image2video."""

    image_list: Annotated[list[ImageRef], _MANY] | None = None
    prompt: Text = None
    negative_prompt: Text = None
    mode: Text = None
    duration: Duration = None
    aspect_ratio: Text = None


class VideoExtend(Request):
    """videos/video-extend."""

    video_id: Id = None
    prompt: Text = None
    negative_prompt: Text = None
    cfg_scale: Number = None


class MotionControl(Request):
    """videos/motion-control."""

    prompt: Text = None
    image_url: Text = None
    video_url: Text = None
    character_orientation: Text = None
    mode: Text = None
    keep_original_sound: Text = None
    element_list: Annotated[list[Element], _MANY] | None = None


class MultiElements(Request):
    """videos/multi-elements."""

    session_id: Id = None
    edit_mode: Text = None
    image_list: Annotated[list[ImageRef], _MANY] | None = None
    prompt: Text = None
    negative_prompt: Text = None
    mode: Text = None
    duration: Duration = None


class Avatar(Request):
    """videos/avatar/image2video."""

    image: Text = None
    audio_id: Id = None
    sound_file: Text = None
    prompt: Text = None
    mode: Text = None


class EffectInput(_Frozen):
    """`input` of an effect."""

    image: Text = None
    images: Annotated[list[Annotated[str, Field(min_length=1)]], _MANY] | None = None
    model_name: Text = None
    mode: Text = None
    duration: Duration = None


class Effects(Request):
    """videos/effects."""

    effect_scene: Text = None
    input: EffectInput | None = None


class LipSyncInput(_Frozen):
    """`input` of a lip-sync."""

    video_id: Id = None
    video_url: Text = None
    mode: Text = None
    text: Text = None
    voice_id: Text = None
    voice_language: Text = None
    voice_speed: Number = None
    audio_id: Id = None
    audio_type: Text = None
    audio_file: Text = None
    audio_url: Text = None


class LipSync(Request):
    """videos/lip-sync."""

    input: LipSyncInput | None = None


class Face(_Frozen):
    """One entry of `face_choose`."""

    face_id: Id = None
    audio_id: Id = None
    sound_file: Text = None
    sound_start_time: Count = None
    sound_end_time: Count = None
    sound_insert_time: Count = None
    sound_volume: Number = None
    original_audio_volume: Number = None


class AdvancedLipSync(Request):
    """videos/advanced-lip-sync."""

    session_id: Id = None
    face_choose: Annotated[list[Face], _MANY] | None = None


class OmniImage(Request):
    """images/omni-image."""

    prompt: Text = None
    image_list: Annotated[list[ImageRef], _MANY] | None = None
    element_list: Annotated[list[Element], _MANY] | None = None
    resolution: Text = None
    result_type: Text = None
    n: Count = None
    series_amount: Count = None
    aspect_ratio: Text = None


class ImageGeneration(Request):
    """images/generations."""

    prompt: Text = None
    negative_prompt: Text = None
    image: Text = None
    image_reference: Text = None
    image_fidelity: Number = None
    human_fidelity: Number = None
    element_list: Annotated[list[Element], _MANY] | None = None
    resolution: Text = None
    n: Count = None
    aspect_ratio: Text = None


class SubjectImage(_Frozen):
    """One entry of `subject_image_list`."""

    subject_image: Text = None


class MultiImageToImage(Request):
    """images/multi-image2image."""

    prompt: Text = None
    subject_image_list: Annotated[list[SubjectImage], _MANY] | None = None
    scene_image: Text = None
    style_image: Text = None
    n: Count = None
    aspect_ratio: Text = None


class TryOn(Request):
    """images/kolors-virtual-try-on."""

    human_image: Text = None
    cloth_image: Text = None


class Expand(Request):
    """images/editing/expand."""

    image: Text = None
    up_expansion_ratio: Number = None
    down_expansion_ratio: Number = None
    left_expansion_ratio: Number = None
    right_expansion_ratio: Number = None
    prompt: Text = None
    n: Count = None


class TextToAudio(Request):
    """audio/text-to-audio."""

    prompt: Text = None
    duration: Number = None


class VideoToAudio(Request):
    """audio/video-to-audio."""

    video_id: Id = None
    video_url: Text = None
    sound_effect_prompt: Text = None
    bgm_prompt: Text = None
    asmr_mode: bool | None = None


MODELS: Mapping[str, type[Request]] = MappingProxyType(
    {
        "videos/omni-video": OmniVideo,
        "videos/text2video": TextToVideo,
        "videos/image2video": ImageToVideo,
        "videos/multi-image2video": MultiImageToVideo,
        "videos/video-extend": VideoExtend,
        "videos/motion-control": MotionControl,
        "videos/multi-elements": MultiElements,
        "videos/avatar/image2video": Avatar,
        "videos/effects": Effects,
        "videos/lip-sync": LipSync,
        "videos/advanced-lip-sync": AdvancedLipSync,
        "images/omni-image": OmniImage,
        "images/generations": ImageGeneration,
        "images/multi-image2image": MultiImageToImage,
        "images/kolors-virtual-try-on": TryOn,
        "images/editing/expand": Expand,
        "audio/text-to-audio": TextToAudio,
        "audio/video-to-audio": VideoToAudio,
    }
)


def given(request: BaseModel, name: str) -> Any:
    """The value of a field; None for what Kling takes as absent: null, an empty string, an empty list (R007)."""
    value = getattr(request, name, None)
    return value or None if isinstance(value, str | list) else value
