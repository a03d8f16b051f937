"""A database that is brought forward while the version before works on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from infra.db import make_engine
from infra.settings import Settings
from tests.fakes import MORNING
from worker.store import migrate as module
from worker.store import steps
from worker.store.inbox import Arrival, Inbox
from worker.store.migrate import NotOurs, migrate
from worker.store.repository import NewJob, Repository
from worker.store.steps import is_ready, newest

_STEP = """
from alembic import op
from worker.store.migrations.indexes import create_index

revision, down_revision, branch_labels, depends_on = "{name}", "{before}", None, None


def upgrade():
    {what}
"""
_VALID = "select indisvalid from pg_index where indexrelid = to_regclass('ix_later')"


@pytest.fixture
def later(migrated: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of steps that come after ours, as a later version has them; all is as it was afterwards."""
    ours = newest()
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0)
    with migrated.begin() as connection:  # the server's own vacuum would be somebody who is there, too
        connection.execute(text("alter table jobs set (autovacuum_enabled = false)"))
    with monkeypatch.context() as within:
        within.setattr(steps, "FOLDERS", (*steps.FOLDERS, tmp_path))
        steps.known.cache_clear()
        yield tmp_path
    steps.known.cache_clear()
    with migrated.begin() as connection:
        connection.execute(text("alter table jobs drop column if exists later"))
        connection.execute(text("drop index if exists ix_later"))
        connection.execute(text("alter table jobs reset (autovacuum_enabled)"))
    _at(migrated, ours)


def step(folder: Path, name: str, what: str, before: str | None = None) -> None:
    """Write one."""
    (folder / f"{name}.py").write_text(_STEP.format(name=name, before=before or newest(), what=what))
    steps.known.cache_clear()


def _at(engine: Engine, revision: str | None) -> None:
    with engine.begin() as connection:
        connection.execute(text("delete from alembic_version"))
        if revision:
            connection.execute(text("insert into alembic_version values (:revision)"), {"revision": revision})


@contextmanager
def dump(settings: Settings) -> Iterator[Engine]:
    """Connections of somebody else."""
    engine = make_engine(settings, application="tests")
    yield engine
    engine.dispose()


def call_back(engine: Engine, number: int) -> list[bool | None]:
    """A callback for the one job that there is."""
    return Inbox(engine).put([Arrival("a", b"%d" % number, "understood", "succeed", MORNING)])


def a_job(engine: Engine) -> None:
    """Make it."""
    Repository(engine).accept(NewJob("a", "c", "default", "videos/omni-video", None, None, b"f", b"{}"), MORNING)


def test_a_later_version_s_database_will_do(migrated: Engine) -> None:
    """During a deploy the old code stays ready, and its own release does nothing; a missing step is another matter."""
    ours = newest()
    ready = {}
    for revision in ("9999", "0001", None, ours):
        _at(migrated, revision)
        ready[revision] = is_ready(migrated)
        if ready[revision]:
            migrate(migrated)

    assert {"9999": True, "0001": False, None: False, ours: True} == ready


def test_another_app_s_database_is_let_be(migrated: Engine) -> None:
    """Steps of an app that uses alembic, too, are none of a later version's: nothing is ready, and nothing is made."""
    ours = newest()
    _at(migrated, "ae1027a6acf4")
    try:
        assert not is_ready(migrated)
        with pytest.raises(NotOurs, match="ae1027a6acf4"):
            migrate(migrated)
    finally:
        _at(migrated, ours)


def test_a_step_gives_way_to_who_is_there(
    engine: Engine, settings: Settings, later: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P5: whoever comes after a step that waits for a dump waits behind it. So it gives up soon, and tries again."""
    a_job(engine)
    step(later, "9998", 'op.execute("alter table jobs add column later text")')
    told: list[list[bool | None]] = []
    with dump(settings) as others, others.connect() as reader:
        reader.execute(text("select 1 from jobs"))

        def passing(_: float) -> None:
            told.append(call_back(engine, len(told)))
            if len(told) == 2:
                reader.rollback()  # the dump is done

        monkeypatch.setattr(module, "_LOCK_SECONDS", 0.1)
        monkeypatch.setattr(module, "sleep", passing)
        migrate(engine)

    assert [[True], [True]] == told
    assert is_ready(engine)


def test_what_was_done_stays_done(engine: Engine, later: Path) -> None:
    """Each step is a transaction of its own: one that fails takes none of those before it back."""
    step(later, "9997", 'op.execute("alter table jobs add column later text")')
    step(later, "9998", 'op.execute("select nothing")', before="9997")
    with pytest.raises(DBAPIError):
        migrate(engine)

    with engine.connect() as connection:
        assert "9997" == connection.execute(text("select version_num from alembic_version")).scalar_one()
        connection.execute(text("select later from jobs"))
    step(later, "9998", 'op.execute("select 1")', before="9997")
    migrate(engine)
    assert is_ready(engine)


def test_an_index_is_built_beside_those_who_write(engine: Engine, settings: Settings, later: Path) -> None:
    """P5: callbacks and jobs go on meanwhile; and what an attempt that was broken off left behind is built anew."""
    a_job(engine)
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        with dump(settings) as others, others.connect() as reader:
            reader.execute(text("lock table jobs in row exclusive mode"))
            connection.execute(text("set lock_timeout = '50ms'"))
            with pytest.raises(DBAPIError):
                connection.execute(text("create index concurrently ix_later on jobs (model)"))
        assert not connection.execute(text(_VALID)).scalar_one()
        connection.invalidate()
    step(later, "9998", 'create_index("ix_later", "jobs", ["model"])')
    with dump(settings) as others, others.begin() as writer:
        writer.execute(text("update jobs set model = 'x'"))
    migrate(engine)

    with engine.connect() as connection:
        assert connection.execute(text(_VALID)).scalar_one()
    assert is_ready(engine)
