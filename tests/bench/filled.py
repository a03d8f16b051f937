"""Databases that hold many finished jobs, filled by the server itself in the proportions that jobs leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, text

from infra.db import make_engine, single, take_time
from infra.settings import Settings
from worker.store.migrate import migrate

#: The caller and family of every job here.
CALLER, FAMILY = "default", "videos/omni-video"
#: Jobs that are open beside the finished ones.
RUNNING = 2000
_EVENTS = 6
_CALLBACKS = 3

# Jobs of one job a second until now, each with what it left: six events, three callbacks, a file, a delivery.
_STEPS = (
    "set session_replication_role = replica",  # foreign keys hold by construction
    "set synchronous_commit = off",
    """
    insert into jobs (id, caller, account, family, state, external_task_id, fingerprint, provider_task_id, submissions,
                      created_at, updated_at, submitted_at, expected_at, version)
    select 'f' || lpad(n::text, 25, '0'), :caller, 'default', :family, 'archived', 'order-' || n,
           sha256(n::text::bytea), 'task-' || n, 1,
           at, at + interval '90 s', at + interval '1 s', at + interval '80 s', 4
    from (select n, now() - (:count - n + 100) * interval '1 s' as at from generate_series(1, :count) as n) as made
    """,
    """
    insert into payloads (job_id, request, answer)
    select id, convert_to(repeat('{"prompt": "a cat"}', 20), 'UTF8'), convert_to(repeat('{"code": 0}', 40), 'UTF8')
    from jobs where state = 'archived'
    """,
    """
    insert into events (job_id, sequence, type, at, data)
    select id, n, 'job.moved', created_at + n * interval '1 s', jsonb_build_object('event', 'moved', 'n', n)
    from jobs cross join generate_series(1, :events) as n where state = 'archived'
    """,
    """
    insert into callbacks (job_id, sha256, body, verdict, status, received_at)
    select id, sha256(n::text::bytea), convert_to(repeat('{"task_id": 1}', 20), 'UTF8'), 'understood', 'succeed',
           created_at + n * interval '1 s'
    from jobs cross join generate_series(1, :callbacks) as n where state = 'archived'
    """,
    """
    insert into files (job_id, kind, variant, ordinal, key, bucket, size, sha256, content_type, stored_at)
    select id, 'video', 'original', 0, id || '/video-0.mp4', 'films', 5000000, encode(fingerprint, 'hex'), 'video/mp4',
           updated_at from jobs where state = 'archived'
    """,
    """
    insert into deliveries (id, event_id, job_id, url, state, attempts, begun_at, delivered_at)
    select 'msg_' || job_id, id, job_id, 'https://app.example/hook', 'delivered', 1, at, at
    from events where sequence = :events
    """,
    """
    insert into jobs (id, caller, account, family, state, fingerprint, provider_task_id, submissions, created_at,
                      updated_at, submitted_at, expected_at, due_at, version)
    select 'r' || lpad(n::text, 25, '0'), 'other', 'default', :family, 'running', sha256(n::text::bytea), 'task-r' || n,
           1, now(), now(), now(), now(), now() + interval '1 hour' + n * interval '1 s', 2
    from generate_series(1, :running) as n
    """,
    "set session_replication_role = origin",
)


@contextmanager
def filled(settings: Settings, name: str, count: int) -> Iterator[Engine]:
    """A database called `name` with so many finished jobs; gone afterwards."""
    admin = single(make_engine(settings, application="bench", connections=1))
    with admin.connect() as connection:
        connection.execute(text(f"create database {name}"))
    url = settings.database_url.rpartition("/")[0] + f"/{name}"
    engine = make_engine(settings.model_copy(update={"database_url": url}), application="bench", connections=1)
    try:
        migrate(engine)
        _fill(engine, count)
        yield engine
    finally:
        engine.dispose()
        with admin.connect() as connection:
            connection.execute(text(f"drop database {name} with (force)"))
        admin.dispose()


def _fill(engine: Engine, count: int) -> None:
    values = {"count": count, "caller": CALLER, "family": FAMILY, "events": _EVENTS, "callbacks": _CALLBACKS,
              "running": RUNNING}  # fmt: skip
    with single(engine).connect() as connection:
        take_time(connection, 3600)
        for step in (*_STEPS, "vacuum analyze"):
            connection.execute(text(step), {name: value for name, value in values.items() if f":{name}" in step})
        connection.invalidate()  # what was set for the filling is not for what is measured
