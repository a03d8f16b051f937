"""The synchronous routes: answered at once, never a task (reference section 2.6)."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from infra.emulator import selection
from infra.emulator.desk import Desk, id_of, number, text
from infra.emulator.inputs import VIDEO_SECONDS, VIDEO_SHAPE
from infra.emulator.library import PRESET_ELEMENTS, PRESET_VOICES
from infra.emulator.paging import page_of
from infra.emulator.rules import document
from infra.emulator.wire import Refusal, Reply, Request, succeed

Body = Mapping[str, Any]
_FACE_SECONDS = (1.95, 60.05)
_FACE_SIDES = (512, 2160)
_LETTERS_A_SECOND = 15.0
_SPEECH_UNITS, _LOOK_UNITS = "0.05", "0.1"
_PACK_UNITS = 1_000_000.0
_YEAR_MS = 365 * 24 * 3600 * 1000


def _preset_voices(desk: Desk, query: Mapping[str, str]) -> Any:
    rows = [
        desk.done(task_result={"voices": [
            {"voice_id": id_, "voice_name": name, "trial_url": desk.studio.sound(5.0), "owned_by": "kling"}
        ]})
        for id_, name in PRESET_VOICES.items()
    ]  # fmt: skip
    return page_of(rows, query, 1000)


def _preset_elements(desk: Desk, query: Mapping[str, str]) -> Any:
    rows = [
        desk.done(task_result={"elements": [
            {
                "element_id": id_, "element_name": name, "element_description": name, "reference_type": "image_refer",
                "tag_list": [], "owned_by": "kling", "status": "succeed",
            }
        ]})
        for id_, name in PRESET_ELEMENTS.items()
    ]  # fmt: skip
    return page_of(rows, query, 500)


def _delete(kind: str, desk: Desk, body: Body) -> Any:
    desk.world.library.drop(kind, id_of(body, f"{kind}_id"))
    return desk.done()


def _custom_element(desk: Desk, body: Body) -> Any:
    """The older way to make an element: of images, and at once."""
    name, description = text(body, "element_name", 20), text(body, "element_description", 100)
    others = body.get("element_refer_list")
    if not isinstance(others, list) or not 1 <= len(others) <= 3 or not all(isinstance(one, dict) for one in others):
        raise Refusal(1201, "element_refer_list must have 1 to 3 entries")
    for source in (text(body, "element_frontal_image", 1 << 24), *(text(one, "image_url", 1 << 24) for one in others)):
        desk.picture(source)
    element_id = desk.mint()
    row = {
        "element_id": int(element_id), "element_name": name, "element_description": description,
        "owned_by": "emulator", "status": "succeed",
    }  # fmt: skip
    desk.world.library.keep("element", element_id, row)
    return dict(row)


def _identify_face(desk: Desk, body: Body) -> Any:
    """Every video is taken to show one face, from beginning to end."""
    footage, url = desk.film(body)
    sides = (footage.width, footage.height)
    if not _FACE_SIDES[0] <= min(sides) <= max(sides) <= _FACE_SIDES[1]:
        raise Refusal(1201, VIDEO_SHAPE)
    if not _FACE_SECONDS[0] <= footage.seconds <= _FACE_SECONDS[1]:
        raise Refusal(1201, VIDEO_SECONDS)
    session_id = desk.mint()
    desk.sessions.open(session_id, footage, url)
    assert footage.still
    face = {
        "face_id": "0", "face_image": desk.studio.copied(footage.still.path), "start_time": 0,
        "end_time": round(footage.seconds * 1000),
    }  # fmt: skip
    return {"session_id": session_id, "face_data": [face]}


def _speech(desk: Desk, body: Body) -> Any:
    """A tone as long as it takes to say the text."""
    said, _ = text(body, "text", 1000), text(body, "voice_id")
    language = text(body, "voice_language")
    if language not in ("zh", "en"):
        raise Refusal(1201, f"voice_language value '{language}' is invalid")
    speed = number(body, "voice_speed", 0.8, 2.0) if body.get("voice_speed") is not None else 1.0
    desk.world.charge(_SPEECH_UNITS, time.time())
    seconds = max(1.0, round(len(said) / _LETTERS_A_SECOND / speed, 1))
    audio = {"id": desk.mint(), "url": desk.studio.sound(seconds), "duration": f"{seconds:g}"}
    return desk.done(task_result={"audios": [audio]}, final_unit_deduction=_SPEECH_UNITS)


def _recognise(desk: Desk, body: Body) -> Any:
    """Every image is taken to show one thing, which fills it, and nobody."""
    picture = desk.picture(text(body, "image", 1 << 24))
    desk.world.charge(_LOOK_UNITS, time.time())
    url = desk.studio.copied(picture.path)
    kinds = {"object_seg": url, "head_seg": "", "face_seg": "", "cloth_seg": ""}
    rows = [{"type": kind, "is_contain": bool(where), "url": where} for kind, where in kinds.items()]
    return desk.done(task_result={"images": rows}, final_unit_deduction=_LOOK_UNITS)


def _costs(desk: Desk, query: Mapping[str, str]) -> Any:
    begin, end = (_milliseconds(query, key) for key in ("start_time", "end_time"))
    if begin > end:
        raise Refusal(1201, "start_time must not be after end_time")
    now = int(time.time() * 1000)
    total = _PACK_UNITS if desk.config.balance is None else desk.config.balance
    left = max(0.0, total - desk.world.spent())
    pack = {
        "resource_pack_name": "Emulated Units", "resource_pack_id": f"{0:032x}",
        "resource_pack_type": "decreasing_total", "total_quantity": total, "remaining_quantity": left,
        "purchase_time": now, "effective_time": now, "invalid_time": now + _YEAR_MS,
        "status": "online" if left else "runOut",
    }  # fmt: skip
    wanted = query.get("resource_pack_name", pack["resource_pack_name"])
    packs = [pack] if wanted == pack["resource_pack_name"] else []
    return {"code": 0, "msg": "success", "resource_pack_subscribe_infos": packs}


def _milliseconds(query: Mapping[str, str], key: str) -> int:
    value = query.get(key, "")
    if not value.isascii() or not value.isdecimal() or len(value) > 15:
        raise Refusal(1201, f"{key} must be a Unix time in milliseconds")
    return int(value)


@dataclass(frozen=True)
class Service:
    """One synchronous route. A GET reads its query, a POST its body."""

    method: str
    answer: Callable[[Desk, Any], Any]

    def __call__(self, desk: Desk, request: Request) -> Reply:
        """The reply; Refusal 1202 for another method."""
        if request.method != self.method:
            raise Refusal(1202, f"method {request.method} is not supported")
        return succeed(self.answer(desk, request.query if self.method == "GET" else document(request.body)))


#: Path below /v1, or from the root where it begins with a slash.
SERVICES: Mapping[str, Service] = {
    "general/presets-voices": Service("GET", _preset_voices),
    "general/delete-voices": Service("POST", partial(_delete, "voice")),
    "general/advanced-presets-elements": Service("GET", _preset_elements),
    "general/delete-elements": Service("POST", partial(_delete, "element")),
    "general/custom-elements": Service("POST", _custom_element),
    "videos/identify-face": Service("POST", _identify_face),
    "videos/multi-elements/init-selection": Service("POST", selection.init),
    "videos/multi-elements/add-selection": Service("POST", selection.add),
    "videos/multi-elements/delete-selection": Service("POST", selection.delete),
    "videos/multi-elements/clear-selection": Service("POST", selection.clear),
    "videos/multi-elements/preview-selection": Service("POST", selection.preview),
    "videos/image-recognize": Service("POST", _recognise),
    "audio/tts": Service("POST", _speech),
    "/account/costs": Service("GET", _costs),
}
