"""What a rule is: a row of data with one small check, and what it sees of a request.

A check looks and says what it misses; it never decides whether that refuses or warns. That is decided by the row: the
editions in which it refuses, what it does in the others, and whether only a strict evaluation refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from worker.kling.capabilities import MODELS, Model
from worker.kling.catalog import Family
from worker.kling.editions import ALL
from worker.kling.redact import shorten


class Severity(Enum):
    """What a miss amounts to."""

    REFUSE = "refuse"
    WARN = "warn"
    OFF = "off"


class Miss(NamedTuple):
    """What a check found wrong."""

    field: str  #: path, such as image_list[0].image_url
    found: object
    allowed: str  #: what would be right, as a phrase


#: None when all is well: most checks of most requests, so it has to cost nothing.
Found = Miss | Sequence[Miss] | None


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request, or that will be ignored in it."""

    field: str
    rule: str
    found: str  #: shortened, and without secrets
    allowed: str
    source: str

    @property
    def message(self) -> str:
        """A sentence that names the field, the rule and the fix."""
        return f"{self.field}: {self.allowed}, found {self.found} ({self.rule})"


@dataclass(frozen=True, slots=True)
class Limits:
    """Figures in which gateways differ from Kling."""

    prompt: int = 2500  #: characters
    negative_prompt: int = 2500
    required: tuple[str, ...] = ()
    models: tuple[str, ...] = ()  #: empty: the family's own
    ratio_of_features: bool = False  #: a feature video needs an aspect_ratio
    own_ids: bool = False  #: ids of elements are the gateway's, and may be any text


#: The usual lengths of shots: looking them up is quicker than reading them.
_LENGTHS = {str(seconds): seconds for seconds in range(1, 16)}


class Seen:
    """A request as checks see it, what several of them need worked out once."""

    __slots__ = (
        "can",
        "duration",
        "edition",
        "family",
        "frames",
        "kinds",
        "lengths",
        "limits",
        "mode",
        "model",
        "multi",
        "request",
        "shots",
        "sound",
    )

    def __init__(
        self, request: Any, family: Family, *, edition: str, limits: Limits, kinds: Mapping[str, str] | None
    ) -> None:
        self.request = request
        self.family = family
        self.edition = edition
        self.limits = limits
        self.kinds = kinds  #: of elements, by id: image or video; None when nobody looked
        self.model: str = request.model_name or (family.models[0] if family.models else "")
        self.can: Model | None = MODELS.get(self.model)
        fields = request.__dict__  # a missing attribute of a pydantic model is slow to be missing
        self.mode: str = fields.get("mode") or family.mode
        duration = fields.get("duration")
        self.duration: str = "5" if duration is None or duration == "" else plain(duration)
        self.sound: bool = fields.get("sound") == "on"
        multi = fields.get("multi_shot")
        self.multi: bool = multi is True or multi == "true"
        #: The shots, where each is told by itself, and how long each is.
        self.shots: Sequence[Any] = ()
        self.lengths: list[int | None] = []
        if self.multi and fields.get("shot_type") != "intelligence" and (shots := fields.get("multi_prompt")):
            self.shots = shots
            self.lengths = [_LENGTHS.get(shot.duration) or whole(shot.duration) for shot in shots]
        images = fields.get("image_list")
        #: The types of omni-video's images that are frames.
        self.frames: list[str] = [item.type for item in images if item.type] if images and family.frames else []

    def edits_video(self) -> bool:
        """Whether it edits a base video, which is what a video is when nothing is said of it."""
        videos = self.request.__dict__.get("video_list")
        return bool(videos) and (videos[0].refer_type or "base") == "base"

    def is_video_element(self, element_id: object) -> bool:
        """Whether an element is known to be a video-character one."""
        return self.kinds is not None and self.kinds.get(str(element_id)) == "video"


Check = Callable[[Seen], Found]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row."""

    id: str
    families: tuple[str, ...]
    text: str  #: what holds, in one sentence
    source: str
    check: Check | None = field(repr=False)  #: None where somebody else keeps it: the text says who
    refuses: frozenset[str] = ALL  #: editions in which it refuses
    elsewhere: Severity = Severity.OFF  #: what it does in the other editions
    lenient: bool = False  #: warns, and refuses only where a strict evaluation was asked for
    when: str = ""  #: a field without which the check has nothing to look at; empty: it always has

    def severity(self, edition: str, *, strict: bool) -> Severity:
        """What a miss amounts to in an edition."""
        if self.lenient:
            return Severity.REFUSE if strict else Severity.WARN
        return Severity.REFUSE if edition in self.refuses else self.elsewhere

    def fault(self, miss: Miss) -> Fault:
        """What is told of a miss."""
        return Fault(miss.field, self.id, shorten(miss.found), miss.allowed, self.source)


class Rules:
    """A set of rules, filled by `rule`."""

    def __init__(self) -> None:
        self.rows: list[Rule] = []

    def rule(
        self,
        id_: str,
        families: tuple[str, ...],
        text: str,
        source: str,
        *,
        refuses: frozenset[str] = ALL,
        elsewhere: Severity = Severity.OFF,
        lenient: bool = False,
        when: str = "",
    ) -> Callable[[Check], Check]:
        """Make the decorated check a row."""

        def add(check: Check) -> Check:
            self.rows.append(Rule(id_, families, text, source, check, refuses, elsewhere, lenient, when))
            return check

        return add

    def advice(
        self, id_: str, families: tuple[str, ...], text: str, source: str, *, when: str = ""
    ) -> Callable[[Check], Check]:
        """The same for a row that only ever warns: what will be ignored, and what sources disagree on."""
        return self.rule(id_, families, text, source, refuses=frozenset(), elsewhere=Severity.WARN, when=when)


def one_of(values: Sequence[str]) -> str:
    """`must be one of a, b, c`."""
    return f"must be one of {', '.join(values)}" if len(values) > 1 else f"must be {values[0]}"


def plain(value: str | float) -> str:
    """A string as it is, a number as its digits; an integer beyond any sense has none that Python would print."""
    return "an enormous number" if isinstance(value, int) and value.bit_length() >= 64 else str(value)


def whole(value: object) -> int | None:
    """A whole number from 0 on, also as a string of digits; None for anything else."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None
