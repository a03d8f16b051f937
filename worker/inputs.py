"""Media that a request names are looked at before it costs anything: Kling would take the money first.

Base64 and `s3://` inputs always; http(s) ones where PROBE_URLS says so, through the guarded fetcher.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from time import monotonic
from typing import IO, Any

from infra.boxes import NotMedia
from infra.http import Http, HttpError
from infra.media import look_at_film
from infra.object_store import ObjectStore
from infra.stills import look_at_image
from infra.store_errors import StoreError
from worker.jobs.model import ResultFile
from worker.kling.evaluate import Verdict
from worker.kling.media import ImageFacts, Place, VideoFacts, decode, image_faults, is_base64, media_of, video_faults
from worker.kling.rule import Fault

#: Bytes above which a picture or film is too large for Kling anyway: it is not read any further.
_LARGEST = {"image": 11 * 2**20, "video": 201 * 2**20}
#: Seconds for all URLs of one request together: somebody waits for the answer, and a thread of the door with them.
_PROBE_SECONDS = 15
_IN_MEMORY = 2**20


@dataclass(frozen=True)
class Inputs:
    """Looks at inputs. `http` is None where URLs are not to be fetched, `bucket` where there is no bucket."""

    bucket: ObjectStore | None
    http: Http | None

    def faults(self, family: str, request: Any, *, edition: str) -> list[Fault]:
        """What Kling would refuse of the media that a parsed request names."""
        judge, until = _Judge(family, edition, request), monotonic() + _PROBE_SECONDS
        places = [place for place in media_of(family, request) if place.kind in _LARGEST]
        return [fault for place in places for fault in self._of(place, judge, until)]

    def faults_of_file(self, place: Place, file: ResultFile, verdict: Verdict | None) -> list[Fault]:
        """The same of a proven result, or of its poster, by the facts in its row. Raises `StoreError`.

        `verdict` on the request names the limits to check; without one the object only has to be there.
        """
        assert self.bucket is not None, "results lie in one"
        stored = self.bucket.of(file.bucket).head(place.value)
        if stored is None:
            return [_fault(place, f"is no longer in the bucket, where it was {place.value}")]
        if verdict is None:
            return []
        sides = file.width or 0, file.height or 0
        if place.kind == "image":
            kind = "jpeg" if place.value == file.poster_key else file.container or ""
            return list(image_faults(verdict.family, place.field, ImageFacts(kind, stored.size, *sides)))
        if place.kind == "video":
            film = VideoFacts(file.container or "", stored.size, *sides, file.duration or 0, file.fps or 0)
            return list(_Judge(verdict.family, verdict.edition, verdict.request).facts(place, film))
        return []

    def _of(self, place: Place, judge: _Judge, until: float) -> Iterator[Fault]:
        if is_base64(place):
            body = decode(place)
            yield from judge.picture(place, body)
        elif place.value.startswith("s3://"):
            yield from self._stored(place, judge) if self.bucket else ()
        elif self.http and place.value.startswith(("http://", "https://")):
            yield from self._fetched(place, self.http, judge, until - monotonic())

    def _stored(self, place: Place, judge: _Judge) -> Iterator[Fault]:
        """An object in the bucket; that the caller may name it was checked before (`worker.jobs.access`)."""
        assert self.bucket is not None
        name, _, key = place.value.removeprefix("s3://").partition("/")
        bucket = self.bucket.of(name)
        try:
            stored = bucket.head(key)
            if stored is None:
                yield _fault(place, "names no object in the bucket")
            elif place.kind == "image":
                yield from judge.picture(place, bucket.read(key, 0, _LARGEST["image"]))
            else:
                with bucket.open(key, stored.size) as file:
                    yield from judge.film(place, file, stored.size)
        except StoreError as fault:
            yield _fault(place, f"could not be read from the bucket ({fault})")

    def _fetched(self, place: Place, http: Http, judge: _Judge, seconds: float) -> Iterator[Fault]:
        if seconds <= 0:
            yield _fault(place, f"could not be fetched: all URLs of a request have {_PROBE_SECONDS} s")
            return
        with SpooledTemporaryFile(_IN_MEMORY) as file:
            try:
                with http.stream(place.value, {}, seconds=seconds) as answer:
                    if answer.status != 200:
                        yield _fault(place, f"could not be fetched: its host answers HTTP {answer.status}")
                        return
                    for chunk in answer.chunks:
                        file.write(chunk)
                        if file.tell() > _LARGEST[place.kind]:
                            break
            except HttpError as fault:
                yield _fault(place, f"could not be fetched: {fault}")
                return
            size = file.tell()
            file.seek(0)
            if place.kind == "image":
                yield from judge.picture(place, file.read())
            else:
                yield from judge.film(place, file, size)


@dataclass(frozen=True)
class _Judge:
    """By whose limits a request's media are judged."""

    family: str
    edition: str
    request: Any

    def picture(self, place: Place, body: bytes) -> Iterator[Fault]:
        try:
            seen = look_at_image(body)
            facts = ImageFacts(seen.container, len(body), seen.width or 0, seen.height or 0)
        except NotMedia:
            facts = ImageFacts("", len(body))
        yield from image_faults(self.family, place.field, facts)

    def film(self, place: Place, file: IO[bytes] | Any, size: int) -> Iterator[Fault]:
        try:
            seen = look_at_film(file)
        except NotMedia:
            yield from video_faults(self.family, place.field, VideoFacts("", size))
            return
        yield from self.facts(
            place,
            VideoFacts(seen.container, size, seen.width or 0, seen.height or 0, seen.duration or 0, seen.fps or 0),
        )

    def facts(self, place: Place, facts: VideoFacts) -> Iterator[Fault]:
        """What a film's facts are judged to be."""
        yield from video_faults(
            self.family,
            place.field,
            facts,
            edition=self.edition,
            model=self.request.model_name or "",
            orientation=getattr(self.request, "character_orientation", None) or "image",
        )


def _fault(place: Place, allowed: str) -> Fault:
    return Fault(place.field, "media", "that input", allowed, "Reelhook")
