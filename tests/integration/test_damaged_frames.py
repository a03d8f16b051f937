"""A film of which some frames don't decode: it was paid for, so it is kept, and everybody is told."""

from __future__ import annotations

import json
from io import BytesIO

import av
import pytest
from sqlalchemy import Engine

from infra.settings import Settings
from tests.fakes import MORNING
from tests.integration.archive_kit import film, proven, video, yard
from tests.origin import File, origin
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
