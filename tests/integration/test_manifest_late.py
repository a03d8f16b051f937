"""A manifest that arrives late: it takes another one's place, so it has to be the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from infra.settings import Settings
from tests.integration.archive_kit import Yard, film, proven, video, yard
from tests.origin import File, origin
from webhook.verdicts import Judge
from worker.jobs.model import State

FILM = film()
#: Who stands still renews no lease meanwhile.
pytestmark = pytest.mark.usefixtures("no_pauses")


class Late:
    """The bucket to a worker whose manifest stands still, here or on its way, while `meanwhile` happens."""

    def __init__(self, made: Yard, meanwhile: Callable[[], object]) -> None:
        self._bucket = made.bucket
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def put(self, key: str, body: Any, *length: int, **label: Any) -> str:
        """Store it, at last."""
        if key.endswith("manifest.json"):
            self._meanwhile()
        return self._bucket.put(key, body, *length, **label)


@pytest.mark.parametrize("files", [1, 2])
def test_a_manifest_that_was_held_up_is_the_one_that_is_there(settings: Settings, engine: Engine, files: int) -> None:
    """P2, P7: another worker has taken the job over and archived it by then; what its row says still holds."""
    film = File.of(FILM)
    with origin(film=film) as served:
        outputs = [video(served.link("film.mp4"), number) for number in range(files)]
        with yard(settings, engine, outputs) as made:

            def meanwhile() -> None:
                made.clock.advance(600)
                assert State.ARCHIVED is made.work()

            made.restarted(bucket=Late(made, meanwhile)).work()
            job = made.store.get(made.job_id)
            assert job is not None
            assert Judge(made.bucket).of_manifest(job).why is None
            if files == 1:
                proven(made, film)


def test_who_has_lost_the_job_writes_no_manifest(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2: its lease has run out before the manifest leaves, and another worker has the job: it stays that one's."""
    with origin(film=File.of(FILM)) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        asked, request = [True], made.store.request

        def held_up(job_id: str) -> bytes | None:
            if asked and asked.pop():
                made.clock.advance(600)
                assert State.ARCHIVED is made.work()
                made.bucket.delete(f"{made.files[0].key.rpartition('/')[0]}/manifest.json")
            return request(job_id)

        monkeypatch.setattr(made.store, "request", held_up)
        made.work()

        assert [] == [key for key in made.bucket.keys("") if key.endswith("manifest.json")]
