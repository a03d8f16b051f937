"""`reelhook doctor`: try everything that Reelhook needs of its bucket, and say in words what is wrong."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Timer
from types import MappingProxyType

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from infra.db import is_away, is_behind, make_engine
from infra.object_store import ObjectStore
from infra.settings import Settings
from webhook import budget, lifecycle, terminal
from webhook.examination import examine
from worker.services import accounts, now
from worker.store.attention import Attention
from worker.store.buckets import Buckets
from worker.store.keys import ApiKeys
from worker.store.repository import Repository
from worker.store.steps import BEHIND, first_line, is_ready, why

#: How long an examination that was broken off may take to leave nothing behind. A store that answers takes one or two.
_TIDY_SECONDS = 20.0
_SIGNS = MappingProxyType({True: "ok", False: "FAULT", None: "note"})


def _places(settings: Settings) -> dict[str, list[str]]:
    """Buckets, the deployment's own first, and what our files' keys begin with in each: where jobs went, and where API
    keys may send theirs.
    """
    engine, head = make_engine(settings, application="reelhook-cli", connections=1), lifecycle.prefix_of(settings)
    found: dict[str, dict[str, None]] = {settings.s3_bucket: {head: None}}
    try:
        granted = ApiKeys(engine, settings.secret).places(now())
        for bucket, prefix in [*granted, *Repository(engine).places()]:
            there = found.setdefault(bucket or settings.s3_bucket, {})
            there[f"{prefix}/{head}" if prefix else head] = None
    except SQLAlchemyError:
        click.echo("note  the rows can't be read, so places that only API keys and jobs name are left out", err=True)
    finally:
        engine.dispose()
    return {bucket: list(prefixes) for bucket, prefixes in found.items()}


@contextmanager
def _an_end() -> Iterator[None]:
    """Inside, Ctrl-C, SIGTERM and a terminal that is closed end the process as an exception, and only the first does:
    what is tried is taken away again, however often one is told to end. At a store that does not answer that would take
    many minutes: then it is said that something may be left.
    """
    patience: list[Timer] = []
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    heeded = {each: handler for each, handler in handlers.items() if handler is not signal.SIG_IGN}  # as nohup has it

    def end(number: int, _frame: object) -> None:
        for each in heeded:
            signal.signal(each, signal.SIG_IGN)
        patience.append(Timer(_TIDY_SECONDS, _give_up, (128 + number,)))
        patience[0].daemon = True
        patience[0].start()
        sys.exit(128 + number)

    for each in heeded:
        signal.signal(each, end)
    try:
        yield
    finally:
        for timer in patience:
            timer.cancel()
        for each, handler in heeded.items():
            signal.signal(each, handler)


def _give_up(code: int) -> None:
    """End at once: whatever is waited for, on whichever thread."""
    click.echo("the store does not answer: an object called reelhook-doctor-... may be left in it", err=True)
    os._exit(code)


def _bucket(settings: Settings, bucket: str, prefixes: Sequence[str]) -> int:
    """Show what comes of each thing that is tried in one bucket; how many faults that is."""
    table = Table("bucket", "", "", title=f"{bucket} at {settings.s3_endpoint_url or 'AWS'}")
    with _an_end():
        findings = list(examine(settings, bucket, prefixes))
    for finding in findings:
        table.add_row(finding.tried, _SIGNS[finding.good], Text(finding.words))
    Console().print(table)
    if all(finding.good is not False for finding in findings if finding.tried.startswith(("write", "create"))):
        _let_go_on(settings, bucket)
    return sum(finding.good is False for finding in findings)


def _let_go_on(settings: Settings, bucket: str) -> None:
    """What waits for a bucket that was away needs not wait for its turn."""
    engine = make_engine(settings, application="reelhook-cli", connections=1)
    names = {bucket, ""} if bucket == settings.s3_bucket else {bucket}
    try:
        if waiting := sum(Buckets(engine).answers(name, now()) for name in names):
            click.echo(f"jobs that waited for {bucket} and go on now: {waiting}")
    except SQLAlchemyError:  # they go on all the same, within minutes
        click.echo(f"note  the rows can't be read, so what waits for {bucket} goes on a little later", err=True)
    finally:
        engine.dispose()


def _connections(settings: Settings) -> int:
    """Show who holds connections and whether the servers allow that; how many faults that is."""
    table = Table("process", "how many", "PostgreSQL each", "broker each", title="connections")
    for one in budget.holders(settings):
        table.add_row(one.name, str(one.count), str(one.postgres), str(one.broker))
    Console().print(table)
    rooms = budget.rooms(settings)
    for room in rooms:
        click.echo(f"{_SIGNS[room.good]}  {room.server}: {room.words}")
    return sum(room.good is False for room in rooms)


def _accounts(settings: Settings) -> int:
    """Name the accounts that jobs wait for and nobody configured, and a database that lacks steps; how many faults."""
    engine = make_engine(settings, application="reelhook-cli", connections=1)
    try:
        if not is_ready(engine):
            click.echo(f"{_SIGNS[False]}  PostgreSQL: {BEHIND}")
            return 1
        missing = {one.account for one in Attention(engine).no_account(accounts(settings))}
    except SQLAlchemyError as fault:
        if isinstance(fault, DBAPIError) and (is_behind(fault) or not is_away(fault)):
            click.echo(f"{_SIGNS[False]}  PostgreSQL: {why(fault) or first_line(fault)}")
            return 1
        click.echo("note  the rows can't be read, so nobody knows whether jobs wait for an account", err=True)
        return 0
    finally:
        engine.dispose()
    for name in sorted(missing):
        click.echo(f"{_SIGNS[False]}  account {name}: jobs wait for it, and no KLING_URL of that name is set")
    return len(missing)


@click.command("doctor")
@click.option("--lifecycle", "shown", is_flag=True, help="Print the lifecycle configuration the bucket should have.")
@click.option("--set-lifecycle", "change", is_flag=True, help="Set it; rules that others have set stay.")
@click.option(
    "--expire-days",
    type=click.IntRange(0, 36500),
    help="With a rule that deletes results so old; 0: without. Unless said, one of ours that is there stays.",
)
@click.option(
    "--bucket",
    help="This one alone. Unless said, S3_BUCKET and every bucket that jobs or API keys name are tried, and rules are "
    "shown and set for S3_BUCKET.",
)
def doctor(*, shown: bool, change: bool, expire_days: int | None, bucket: str | None) -> None:
    """Try the real buckets and servers, say what is wrong.

    Each bucket is written, read, listed and so on; connections and accounts are counted against what is there. Exits 1
    where something is a fault.
    """
    settings = terminal.settings()
    places = _places(settings)
    if shown or change:
        store = ObjectStore(settings).of(bucket or "")
        prefixes = places.get(store.bucket) or [lifecycle.prefix_of(settings)]
        others = [] if bucket else [one for one in places if one != store.bucket]
        lifecycle.arrange(store, prefixes, others, expire_days=expire_days, change=change)
        return
    if expire_days is not None:
        raise click.UsageError("--expire-days goes with --lifecycle or --set-lifecycle")
    faults = sum(_bucket(settings, one, places.get(one, ())) for one in ([bucket] if bucket else places))
    faults += _connections(settings) + _accounts(settings)
    sys.exit(1 if faults else 0)
