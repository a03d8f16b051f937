"""What jobs cost that wait for slots: each asks for itself once a day, and every sweep looks for all of them at once.

Beside it what the same 100,000 would cost if each asked every ten minutes, by the same price of one question.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from time import process_time
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from infra import log
from infra.db import make_engine, take_time
from infra.http import Http
from infra.settings import load
from infra.stack.servers import Servers
from tests.bench import cpu
from tests.bench.measure import write
from tests.conftest import environment_for
from tests.fakes import FakeQueue
from worker.inputs import Inputs
from worker.kling.gateways import parse_account
from worker.pipelines import Pipelines
from worker.provider import Provider
from worker.store.accounts import Accounts
from worker.store.aside import Aside
from worker.store.inbox import Inbox
from worker.store.migrate import migrate
from worker.store.outbox import Outbox
from worker.store.repository import Repository
from worker.tasks.begin import Begin
from worker.tasks.submit import submit
from worker.tasks.sweep import sweep
from worker.tasks.take_slots import WAIT_SECONDS

WAITING = 100_000
QUESTIONS, SWEEPS = 500, 100
#: What a job's own clock would cost that goes so often.
_OFTEN = 600
_ACCOUNT = "kling://ACCESS:SECRETSECRETSECRETSECRETSECRETSE@kling.example?concurrency=1"
_LINE = """
    insert into jobs (id, caller, account, family, state, fingerprint, created_at, updated_at, due_at, queued)
    select 'w' || n, 'c' || n % 20, 'default', 'videos/omni-video',
        case n when 0 then 'running' else 'accepted' end, '', now(), now(), now() + interval '1 day', n > 0
    from generate_series(0, :waiting) n
"""


def _now() -> datetime:
    return datetime.now(UTC)


def run() -> None:
    """Measure and show."""
    log.configure("CRITICAL")
    with tempfile.TemporaryDirectory() as folder, Servers(Path(folder)) as servers:
        values = environment_for(servers.addresses, kling_url=_ACCOUNT)
        settings = load(values)
        engine = make_engine(settings, application="bench")
        migrate(engine)
        Accounts(engine).expect("default:videos")
        with engine.begin() as connection:
            take_time(connection, 600)
            connection.execute(text(_LINE), {"waiting": WAITING})
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            take_time(connection, 600)
            connection.execute(text("vacuum analyze"))
        own = servers.postgres.pid
        question, look = _acts(engine)
        asks, looks = _milliseconds(question, QUESTIONS, own), _milliseconds(look, SWEEPS, own)
        engine.dispose()
    _show(asks, looks, settings.sweep_seconds)


def _acts(engine: Engine) -> tuple[Callable[[], None], Callable[[], None]]:
    """A job that waits asks for its slots; a sweep looks."""
    store, accounts, queue, numbers = Repository(engine), Accounts(engine), FakeQueue(), count(1)
    provider = Provider({"default": parse_account(_ACCOUNT)}, cast("Http", None), "http://us", b"s" * 40, 30, 1.0, str)
    rows: Any = {"store": store, "accounts": accounts, "queue": queue, "clock": _now}
    begin, pipelines = Begin(store, Aside(engine), queue, _now), Pipelines(store, Inputs(None, None), {}, None)
    boxes: Any = {"inbox": Inbox(engine), "outbox": Outbox(engine), "concurrency": provider.concurrency}
    return (
        lambda: submit(f"w{next(numbers)}", begin=begin, provider=provider, pipelines=pipelines, **rows),
        lambda: sweep(**boxes, **rows),
    )


def _milliseconds(act: Callable[[], None], times: int, database: int) -> float:
    """CPU of one: ours and the database's."""
    act()
    began = process_time() + cpu.with_children(database)
    for _ in range(times):
        act()
    return (process_time() + cpu.with_children(database) - began) / times * 1000


def _show(asks: float, looks: float, pause: float) -> None:
    cores = {seconds: WAITING / seconds * asks / 1000 for seconds in (_OFTEN, WAIT_SECONDS)}
    sweeps = looks / 1000 / pause
    table = Table("", "CPU", title=f"{WAITING:,} jobs wait for slots")
    table.add_row("one asks for its slots", f"{asks:.1f} ms")
    table.add_row(f"a sweep, every {pause:g} s", f"{looks:.1f} ms")
    table.add_row("all, once a day each, and the sweeps", f"{cores[WAIT_SECONDS] + sweeps:.3f} of a core")
    table.add_row("all, every ten minutes each, and the sweeps", f"{cores[_OFTEN] + sweeps:.3f} of a core")
    Console().print(table)
    ratio = (cores[WAIT_SECONDS] + sweeps) / (cores[_OFTEN] + sweeps)
    write("waiting", {"daily_vs_ten_minutes": round(ratio, 4)}, {"question_ms": asks, "sweep_ms": looks})
