"""The synchronous rest of Kling's API: what is passed on to an account as it is, and is never a job.

Source: spec section 2.6. A family's own paths are in `catalog`; these are all the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from worker.kling.gateways import Account
from worker.kling.token import authorization
from worker.kling.wire import Call


@dataclass(frozen=True, slots=True)
class Route:
    """One path that is passed on. `{id}` in it stands for one step."""

    path: str  #: as Kling has it, after a gateway's prefix
    methods: tuple[str, ...]
    purpose: str


ROUTES = (
    Route("/v1/videos/identify-face", ("POST",), "faces of a video, and the session for advanced-lip-sync"),
    Route("/v1/videos/image-recognize", ("POST",), "parts of a picture"),
    Route("/v1/videos/multi-elements/init-selection", ("POST",), "open a session on a video"),
    Route("/v1/videos/multi-elements/add-selection", ("POST",), "mark points of a frame"),
    Route("/v1/videos/multi-elements/delete-selection", ("POST",), "take points back"),
    Route("/v1/videos/multi-elements/clear-selection", ("POST",), "take all points back"),
    Route("/v1/videos/multi-elements/preview-selection", ("POST",), "see what is marked"),
    Route("/v1/audio/tts", ("POST",), "speech, answered at once"),
    Route("/v1/general/advanced-custom-elements", ("POST", "GET"), "make an element, list one's own"),
    Route("/v1/general/advanced-custom-elements/{id}", ("GET",), "one element"),
    Route("/v1/general/advanced-presets-elements", ("GET",), "Kling's elements"),
    Route("/v1/general/delete-elements", ("POST",), "remove an element"),
    Route("/v1/general/custom-elements", ("POST", "GET"), "the older way to make an element"),
    Route("/v1/general/custom-elements/{id}", ("GET",), "one of those"),
    Route("/v1/general/custom-voices", ("POST", "GET"), "make a voice, list one's own"),
    Route("/v1/general/custom-voices/{id}", ("GET",), "one voice"),
    Route("/v1/general/presets-voices", ("GET",), "Kling's voices"),
    Route("/v1/general/delete-voices", ("POST",), "remove a voice"),
    Route("/v1/general/ai-multi-shot", ("POST", "GET"), "shots suggested for a picture"),
    Route("/v1/general/ai-multi-shot/{id}", ("GET",), "one of those"),
    Route("/account/costs", ("GET",), "packs and what is left of them; at most once a second"),
)


def _pattern(path: str) -> re.Pattern[str]:
    # One step of letters that need no quoting: a path that was written otherwise is no path of Kling's.
    return re.compile(re.escape(path).replace(r"\{id\}", r"[A-Za-z0-9_-]{1,128}"))


_PATTERNS = tuple((_pattern(route.path), route) for route in ROUTES)


def route(path: str) -> Route | None:
    """The row that `path` (such as `/v1/audio/tts`) belongs to, with or without a slash at its end."""
    path = path.rstrip("/")
    return next((row for pattern, row in _PATTERNS if pattern.fullmatch(path)), None)


def pass_on(
    account: Account, method: str, path: str, query: Mapping[str, str], body: bytes | None, *, now: float
) -> Call:
    """The same request, asked in the name of `account`. `path` is one that `route` knows."""
    headers = {"Authorization": authorization(account, now), "Accept": "application/json"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    question = f"?{urlencode(query)}" if query else ""
    return Call(method, f"{account.base_url}{account.prefix}{path.rstrip('/')}{question}", headers, body)
