"""Media that come inside a request are looked at before it costs anything: Kling would take the money first."""

from __future__ import annotations

from typing import Any

from infra.media import NotMedia, look_at_image
from worker.kling.media import ImageFacts, Place, decode, image_faults, is_base64, media_of
from worker.kling.rule import Fault


def faults(family: str, request: Any) -> list[Fault]:
    """What Kling would refuse of the pictures that a parsed request carries as base64."""
    places = [place for place in media_of(family, request) if place.kind == "image" and is_base64(place)]
    return [fault for place in places for fault in image_faults(family, place.field, _facts(place))]


def _facts(place: Place) -> ImageFacts:
    body = decode(place)
    try:
        seen = look_at_image(body)
    except NotMedia:
        return ImageFacts("", len(body))
    return ImageFacts(seen.container, len(body), seen.width or 0, seen.height or 0)
