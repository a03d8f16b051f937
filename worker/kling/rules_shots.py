"""Rules of prompts and shots, which the three video families share: R021 to R033 and R061. Source: spec section 3."""

from __future__ import annotations

from worker.kling.editions import until
from worker.kling.rule import Found, Miss, Rules, Seen, Severity, one_of, whole

SHOTS = Rules()
_OMNI = ("videos/omni-video",)
_TEXT = ("videos/text2video",)
_IMAGE = ("videos/image2video",)
_EVERY = (*_OMNI, *_TEXT, *_IMAGE)
_LONGEST_SHOT = 512
_COUNT = [1, 2, 3, 4, 5, 6]


@SHOTS.rule("R021", _OMNI, "Without multi_shot there is a prompt.", "DOC A, B, S1")
@SHOTS.rule("R061", _TEXT, "Without multi_shot there is a prompt.", "DOC A, B")
def _prompt(seen: Seen) -> Found:
    if seen.multi or seen.request.prompt:
        return None
    return Miss("prompt", seen.request.prompt, "must not be empty unless multi_shot is true")


@SHOTS.advice("R022", _EVERY, "Without multi_shot, shot_type and multi_prompt have no effect.", "DOC A, B")
def _unused(seen: Seen) -> Found:
    request = seen.request
    if seen.multi or not (request.shot_type or request.multi_prompt):
        return None
    names = [name for name in ("shot_type", "multi_prompt") if getattr(request, name)]
    return [Miss(name, getattr(request, name), "will be ignored, since multi_shot is not true") for name in names]


@SHOTS.rule("R023", _EVERY, "multi_shot needs a shot_type.", "DOC A, B, S1", when="multi_shot")
def _shot_type(seen: Seen) -> Found:
    if not seen.multi or seen.request.shot_type:
        return None
    return Miss("shot_type", seen.request.shot_type, "is required when multi_shot is true")


@SHOTS.rule("R024", _EVERY, "shot_type is customize or intelligence.", "DOC B, B2o", when="multi_shot")
def _known_shot_type(seen: Seen) -> Found:
    if not seen.multi or seen.request.shot_type in (None, "", "customize", "intelligence"):
        return None
    return Miss("shot_type", seen.request.shot_type, one_of(("customize", "intelligence")))


@SHOTS.rule(
    "R024",
    _OMNI,
    "Of omni's shot types the first edition knows customize only.",
    "AMB: A, S1, S4 against B, B2o",
    refuses=until("2026-02"),
    when="multi_shot",
)
def _intelligence(seen: Seen) -> Found:
    if not seen.multi or seen.request.shot_type != "intelligence":
        return None
    return Miss("shot_type", "intelligence", "must be customize: this edition documents no other")


@SHOTS.rule(
    "R025", _EVERY, "customize needs a multi_prompt; prompt has no effect then.", "DOC A, B, S1", when="multi_shot"
)
def _multi_prompt(seen: Seen) -> Found:
    if not seen.multi or seen.request.shot_type != "customize" or seen.request.multi_prompt:
        return None
    return Miss("multi_prompt", seen.request.multi_prompt, "must hold 1 to 6 shots when shot_type is customize")


@SHOTS.advice("R025", _EVERY, "With customize, prompt has no effect.", "DOC A, S1", when="multi_prompt")
def _no_prompt(seen: Seen) -> Found:
    if not seen.multi or seen.request.shot_type != "customize" or not seen.request.prompt:
        return None
    return Miss("prompt", seen.request.prompt, "will be ignored: the shots of multi_prompt are told instead")


@SHOTS.rule("R026", (*_OMNI, *_TEXT, *_IMAGE), "intelligence needs a prompt.", "DOC B, B2o", when="multi_shot")
def _directed(seen: Seen) -> Found:
    if not seen.multi or seen.request.shot_type != "intelligence" or seen.request.prompt:
        return None
    return Miss("prompt", seen.request.prompt, "must not be empty when shot_type is intelligence")


@SHOTS.rule("R027", _EVERY, "multi_prompt holds at most 6 shots.", "DOC A, B, S1", when="multi_shot")
def _six(seen: Seen) -> Found:
    return Miss("multi_prompt", seen.shots, "must hold 1 to 6 shots") if len(seen.shots) > 6 else None


@SHOTS.rule("R028", _EVERY, "A shot's prompt has 1 to 512 characters.", "DOC A, B, S1", when="multi_shot")
def _shot_prompt(seen: Seen) -> Found:
    return [
        Miss(f"multi_prompt[{number}].prompt", shot.prompt, f"must have 1 to {_LONGEST_SHOT} characters")
        for number, shot in enumerate(seen.shots)
        if not 1 <= len(shot.prompt or "") <= _LONGEST_SHOT
    ]


@SHOTS.rule(
    "R029",
    _EVERY,
    "A shot lasts a whole number of seconds, 1 up to the task's duration.",
    "DOC A, B, S1",
    when="multi_shot",
)
def _shot_duration(seen: Seen) -> Found:
    total = 15 if seen.edits_video() else whole(seen.duration) or 15
    return [
        Miss(
            f"multi_prompt[{number}].duration",
            seen.shots[number].duration,
            f"must be a whole number from 1 to {total}, as a string",
        )
        for number, length in enumerate(seen.lengths)
        if not 1 <= (length or 0) <= total
    ]


@SHOTS.rule(
    "R030",
    _EVERY,
    "The shots last as long as the task, unless a base video settles that.",
    "DOC A, B, S1; R049",
    when="multi_shot",
)
def _sum(seen: Seen) -> Found:
    lengths, total = seen.lengths, whole(seen.duration)
    if not lengths or total is None or None in lengths or seen.edits_video():
        return None
    found = sum(filter(None, lengths))
    if found == total:
        return None
    return Miss("multi_prompt", found, f"the shots' durations must add up to the task's duration, {total} s")


@SHOTS.advice("R031", _EVERY, "Shots are numbered 1, 2, 3 and so on.", "samples; INF", when="multi_shot")
def _numbered(seen: Seen) -> Found:
    numbers = [shot.index for shot in seen.shots]
    if numbers == _COUNT[: len(numbers)]:
        return None
    numbers = [whole(number) for number in numbers]
    if sorted(number or 0 for number in numbers) == list(range(1, len(numbers) + 1)):
        return None
    return Miss("multi_prompt", numbers, "index should count 1, 2, 3 and so on, each once")


@SHOTS.rule("R032", _OMNI, "multi_shot works with kling-v3-omni only.", "DOC map (A, B, Cv)", when="multi_shot")
@SHOTS.rule("R061", (*_TEXT, *_IMAGE), "multi_shot works with kling-v3 only.", "DOC map (A, B, Cv)", when="multi_shot")
def _multi_shot_model(seen: Seen) -> Found:
    if not seen.multi or seen.can is None or seen.can.multi_shot:
        return None
    return Miss("multi_shot", True, f"is not supported by {seen.model}")


@SHOTS.rule(
    "R033",
    _OMNI,
    "multi_shot excludes first and end frames.",
    "AMB: B only; A and B2o are silent",
    refuses=frozenset({"2026-03"}),
    elsewhere=Severity.WARN,
    when="multi_shot",
)
def _no_frames(seen: Seen) -> Found:
    if not seen.multi or not any(item.type for item in seen.request.image_list or ()):
        return None
    return Miss("image_list", "a first or end frame", "must hold plain references only when multi_shot is true")


@SHOTS.rule(
    "R089",
    _IMAGE,
    "multi_shot excludes image_tail.",
    "AMB: B only; A and B2i are silent",
    refuses=frozenset({"2026-03"}),
    elsewhere=Severity.WARN,
    when="multi_shot",
)
def _no_tail(seen: Seen) -> Found:
    if not seen.multi or not seen.request.image_tail:
        return None
    return Miss("image_tail", "a last frame", "must be left out when multi_shot is true")
