"""`reelhook subscriptions` and `reelhook deliveries`: who is told, what became of it, and telling it again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import click
from sqlalchemy import Engine

from infra.guard import Guard
from infra.settings import Settings
from webhook import terminal
from worker.jobs import events
from worker.jobs.signing import Signing
from worker.services import now
from worker.store.deliveries import Deliveries, Which
from worker.store.keys import ApiKeys
from worker.store.repository import Repository
from worker.store.subscriptions import Subscription, Subscriptions


class _Rows:
    """What these commands stand on. Nothing is sent from here: a sweep finds what became due."""

    @cached_property
    def settings(self) -> Settings:
        """The settings of the deployment."""
        return terminal.settings()

    @cached_property
    def engine(self) -> Engine:
        """Connections, given back when the command ends."""
        return terminal.engine_of(self.settings)

    @property
    def subscriptions(self) -> Subscriptions:
        """The rows of subscriptions."""
        return Subscriptions(self.engine, self.settings.secret)

    def one(self, name: str) -> Subscription:
        """The subscription with this id."""
        found = self.subscriptions.get(name)
        if found is None:
            raise click.ClickException(f"there is no subscription {name}; `reelhook subscriptions list` shows them")
        return found

    def job(self, caller: str, name: str | None) -> str | None:
        """Our id of a caller's job, which is named by that or by the caller's own; None where none is named."""
        if name is None:
            return None
        if (found := Repository(self.engine).find(caller, name)) is None:
            raise click.ClickException(f"key {caller} has no job {name}")
        return found.id


@click.group()
def subscriptions() -> None:
    """Standing orders to be told of jobs by signed webhook."""


@subscriptions.command("create")
@click.argument("url")
@click.option("--key", "caller", default="default", show_default=True, help="Name of the API key whose jobs it hears.")
@click.option("--type", "types", multiple=True, default=["*"], help="video.archived, video.*, job.attention, ...")
@click.option("--signing", type=click.Choice([one.value for one in Signing]), default="v1", show_default=True)
@click.option("--description", default="", help="For your own use.")
def create(url: str, caller: str, types: tuple[str, ...], signing: str, description: str) -> None:
    """Tell URL of jobs from now on. Its secret is shown this once."""
    rows = _Rows()
    for one in types:
        if fault := events.fault(one):
            raise click.ClickException(f"--type {one}: {fault}")
    guard = Guard(rows.settings.guard_allow_cidrs, rows.settings.guard_ports)
    if fault := guard.refusal_of(url):
        raise click.ClickException(f"URL: {fault}")
    if ApiKeys(rows.engine, rows.settings.secret).named(caller, now()) is None:
        raise click.ClickException(f"--key: there is no API key {caller}; `reelhook keys list` shows them")
    made, secret = rows.subscriptions.create(caller, url, types, Signing(signing), now(), description=description)
    assert secret, "only what is asked for again goes without"
    click.echo(f"subscription    {made.id}")
    _show_key(made, secret)


@subscriptions.command("list")
@click.option("--key", "caller", default="default", show_default=True, help="Name of the API key.")
def listed(caller: str) -> None:
    """Show the subscriptions of an API key. Secrets are not shown."""
    rows = [(one.id, one.url, " ".join(one.types), one.signing, _off(one)) for one in _Rows().subscriptions.of(caller)]
    terminal.show(("id", "url", "types", "signing", "disabled"), rows)


def _off(one: Subscription) -> str:
    return f"{one.disabled_at:%Y-%m-%d %H:%M} {one.disabled_reason}" if one.disabled_at else ""


@subscriptions.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Tell the subscription NAME nothing for now; its events are kept."""
    rows = _Rows()
    rows.subscriptions.disable(rows.one(name).id, "disabled by the operator", now())
    click.echo(f"{name} is disabled; its events are kept")


@subscriptions.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Let the subscription NAME hear again; what was kept is sent."""
    rows = _Rows()
    kept = rows.subscriptions.enable(rows.one(name).id, now())
    click.echo(f"{name} is enabled; {kept} kept of its events go out")


@subscriptions.command("delete")
@click.argument("name")
def delete(name: str) -> None:
    """Forget the subscription NAME, and what waits for it."""
    rows = _Rows()
    rows.subscriptions.delete(rows.one(name).id)
    click.echo(f"{name} is deleted")


@subscriptions.command("rotate")
@click.argument("name")
@click.option("--overlap-hours", default=24.0, show_default=True, type=click.FloatRange(0, 720))
def rotate(name: str, overlap_hours: float) -> None:
    """Give the subscription NAME a new secret. It is shown this once; both sign for a while."""
    rows = _Rows()
    secret = rows.subscriptions.rotate(rows.one(name).id, now(), timedelta(hours=overlap_hours))
    _show_key(rows.one(name), secret)


@subscriptions.command("test")
@click.argument("name")
def test(name: str) -> None:
    """Send the subscription NAME a test event."""
    rows = _Rows()
    click.echo(f"delivery        {rows.subscriptions.test(rows.one(name), now())}")


def _show_key(one: Subscription, secret: str) -> None:
    shown = ("public key", one.public_key) if one.public_key else ("signing secret", secret)
    click.echo(f"{shown[0]:<16}{shown[1]}")


@click.group()
def deliveries() -> None:
    """What was told to whom, and telling it again."""


@deliveries.command("list")
@click.option("--key", "caller", default="default", show_default=True, help="Name of the API key.")
@click.option("--job", help="Of a job, by our id or its external_task_id.")
@click.option("--state", type=click.Choice(["pending", "held", "delivered", "given_up"]))
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 200))
def deliveries_list(caller: str, job: str | None, state: str | None, limit: int) -> None:
    """Show the newest deliveries."""
    rows = _Rows()
    found = Deliveries(rows.engine).page(Which(caller, job=rows.job(caller, job), state=state), limit=limit)
    terminal.show(("id", "event", "job", "to", "state", "attempts", "last"), map(_line, found))


def _line(row: Mapping[str, Any]) -> list[str]:
    to, last = row.get("subscription") or row["url"], row["last_error"] or row["last_status"]
    cells = (row["id"], row["type"], row["job_id"], to, row["state"], row["attempts"], last)
    return ["" if one is None else str(one) for one in cells]


@deliveries.command("show")
@click.argument("name")
@click.option("--key", "caller", default="default", show_default=True, help="Name of the API key.")
def deliveries_show(name: str, caller: str) -> None:
    """Show every attempt at the delivery NAME."""
    found = Deliveries(_Rows().engine).get(caller, name)
    if found is None:
        raise click.ClickException(f"key {caller} has no delivery {name}")
    click.echo(f"{found['type']}  {found['state']}")
    terminal.show(("at", "seconds", "status", "answer"), map(_attempt, found["tried"]))


def _attempt(one: Mapping[str, Any]) -> tuple[str, ...]:
    said = one["error"] if one["status"] is None else one["answer"]
    return f"{one['at']:%Y-%m-%d %H:%M:%S}", f"{one['seconds']:.2f}", str(one["status"] or ""), said or ""


@deliveries.command("replay")
@click.option("--key", "caller", default="default", show_default=True, help="Name of the API key.")
@click.option("--delivery", help="One delivery.")
@click.option("--job", help="All of a job, by our id or its external_task_id.")
@click.option("--subscription", help="All to a subscription.")
@click.option("--since", type=click.DateTime(), help="All whose event is not older (UTC).")
@click.option("--until", type=click.DateTime(), help="All whose event is older (UTC).")
def replay(
    *,
    caller: str,
    delivery: str | None,
    job: str | None,
    subscription: str | None,
    since: datetime | None,
    until: datetime | None,
) -> None:
    """Send deliveries again. Receivers that have them can tell by the webhook-id."""
    if not any((delivery, job, subscription, since, until)):
        raise click.UsageError("say which: --delivery, --job, --subscription, --since or --until")
    rows = _Rows()
    times = since and _utc(since), until and _utc(until)
    which = Which(caller, delivery, rows.job(caller, job), subscription, None, *times)
    click.echo(f"{len(Deliveries(rows.engine).replay(which, now()))} deliveries go out again")


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)
