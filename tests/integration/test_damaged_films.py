"""Films that are not quite whole: a bad frame is told, as the film was paid for; an end that lacks is a fault."""

from __future__ import annotations

import json
from functools import lru_cache
from io import BytesIO

import av
import pytest
from PIL import Image
from sqlalchemy import Engine

from infra.object_store import ObjectStore
from infra.settings import Settings
from tests.fakes import MORNING
from tests.integration.archive_kit import film, proven, video, yard
from tests.origin import File, origin
from tests.s3_gate import Gate
from webhook.verdicts import Judge
from worker.jobs.model import State
from worker.jobs.outbound import Occurred, callback

FILM = film()


def without(frame: int) -> bytes:
    """The film, with nothing in place of one frame but the length of it."""
    with av.open(BytesIO(FILM), "r") as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][frame]
    at, size = (packet.pos or 0) + 8, packet.size - 8
    return FILM[:at] + bytes(size) + FILM[at + size :]


@pytest.mark.parametrize(("body", "frames"), [(FILM, 0), (without(12), 1)])
def test_a_film_with_a_bad_frame_is_kept_and_told(settings: Settings, engine: Engine, body: bytes, frames: int) -> None:
    """Row, manifest and what the app hears say how many frames did not decode; a whole film has none."""
    file = File.of(body)
    with origin(film=file) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        made.work()

        proven(made, file)
        job = made.store.get(made.job_id)
        assert job is not None
        manifest = json.loads(b"".join(made.bucket.chunks(job.manifest_key or "")))
        told = callback(job, made.files, lambda _, key: key, Occurred("job.archived", 1, MORNING, {}))
        assert [frames] * 3 == [
            made.files[0].damaged_frames,
            manifest["files"][0]["damaged_frames"],
            told["reelhook"]["files"][0]["damaged_frames"],
        ]


@pytest.mark.parametrize(("code", "state"), [("KeyTooLongError", State.ARCHIVED), ("SlowDown", State.COPYING)])
def test_no_film_waits_for_a_picture_that_is_never_taken(
    settings: Settings, engine: Engine, code: str, state: State
) -> None:
    """The key of a poster is longer than that of its film. A store that takes none for now is waited for."""
    with (
        origin(film=File.of(FILM)) as served,
        yard(settings, engine, [video(served.link("film.mp4"))]) as made,
        Gate(settings.s3_endpoint_url or "") as gate,
    ):
        gate.refuse("put", 400, code, when=lambda headers: "image/jpeg" == headers.get("Content-Type"))
        worker = made.restarted(bucket=ObjectStore(settings.model_copy(update={"s3_endpoint_url": gate.url})))

        assert state is worker.work()
        assert [(None, None)] * (state is State.ARCHIVED) == [(file.poster_key, file.sheet_key) for file in made.files]


@lru_cache
def as_it_is_made() -> bytes:
    """A WebM of two seconds that was written before anybody knew how long it would be."""
    out = BytesIO()
    with av.open(out, "w", format="webm", options={"live": "1"}) as made:
        options = {"deadline": "realtime", "cpu-used": "8", "g": "12"}
        stream = made.add_stream("libvpx-vp9", rate=24, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(48):
            image = Image.effect_noise((64, 64), 20 + number).convert("RGB")
            made.mux(stream.encode(av.VideoFrame.from_image(image)))  # type: ignore[no-untyped-call]  # PyAV's own
        made.mux(stream.encode())
        made.close()
        return out.getvalue()


def test_what_was_kept_with_a_bad_frame_holds(settings: Settings, engine: Engine) -> None:
    """`reelhook verify` says nothing else of the same bytes than the archive did, whatever they are encoded as."""
    whole = as_it_is_made()
    with av.open(BytesIO(whole), "r") as container:
        bad = [bytes(packet) for packet in container.demux(video=0) if packet.size][38]
    body = whole.replace(bad, bytes(len(bad)))
    with (
        origin(film=File.of(body)) as served,
        yard(settings, engine, [video(served.link("film.mp4"), duration="2")]) as made,
    ):
        made.work()

        (file,) = made.files
        assert 1 == file.damaged_frames
        assert Judge(made.bucket).of_file(made.job_id, file, MORNING).why is None


@pytest.mark.parametrize(("part", "state"), [(2, State.FAILED), (1, State.ARCHIVED)])
def test_a_film_that_says_no_length_is_held_to_what_kling_says(
    settings: Settings, engine: Engine, part: int, state: State
) -> None:
    """How long it lasts is then found in its packets, and half of it is not archived as the whole."""
    body = as_it_is_made()
    with (
        origin(film=File.of(body[: len(body) // part], says_length=False)) as served,
        yard(settings, engine, [video(served.link("film.mp4"), duration="2")]) as made,
    ):
        assert state is made.until_end()
        assert [2.0] * (part == 1) == [round(file.duration or 0, 1) for file in made.files]
