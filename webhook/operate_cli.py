"""What an operator does to rows: `reelhook migrate`, `accounts`, `callbacks` and `set-aside`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import click
from sqlalchemy import Engine

from infra.settings import BadSettings, Settings
from webhook import terminal
from worker.jobs.slots import limit
from worker.kling.gateways import Account
from worker.services import accounts as configured_accounts
from worker.services import now
from worker.store.accounts import Account as Pack
from worker.store.accounts import Accounts
from worker.store.aside import Aside
from worker.store.inbox import Inbox
from worker.store.keys import ApiKeys


class Context:
    """The settings and connections that a command asks for."""

    def __init__(self) -> None:
        self.settings: Settings = terminal.settings()
        try:
            self.accounts = configured_accounts(self.settings)
        except BadSettings as fault:
            raise click.ClickException(str(fault)) from None
        self.engine: Engine = terminal.engine_of(self.settings)

    @property
    def keys(self) -> ApiKeys:
        """The rows of API keys."""
        return ApiKeys(self.engine, self.settings.secret)


@click.command("migrate")
def migrate() -> None:
    """Bring the database to the newest step. Platforms do so as they release."""
    from worker.store.migrate import NotOurs  # noqa: PLC0415 - alembic is a fifth of a second, for this command alone
    from worker.store.migrate import migrate as run_migrations  # noqa: PLC0415 - as said

    here = Context()
    try:
        run_migrations(here.engine)
    except NotOurs as fault:
        raise click.ClickException(f"give Reelhook a database of its own, this one is in use: {fault}") from None
    if here.settings.api_key:
        here.keys.ensure("default", here.settings.api_key.get_secret_value(), now())
    click.echo("the database is at the newest step that this version knows, or at a later one")


@click.group("accounts")
def accounts() -> None:
    """The provider's accounts: slots, and why one is stopped."""


@accounts.command("list")
def accounts_list() -> None:
    """Show each account's slots, and why it is stopped. Slots are told for each kind of task that was asked for."""
    here, moment = Context(), now()
    known = Accounts(here.engine).all()
    idle = here.accounts.keys() - {one.name.partition(":")[0] for one in known}
    rows = [(one.name, _slots(one, here.accounts, moment), *_stop(one)) for one in known]
    rows += [(name, f"{here.accounts[name].concurrency}", "", "") for name in sorted(idle)]
    terminal.show(("account", "slots", "stopped since", "why"), rows)


def _slots(pack: Pack, configured: Mapping[str, Account], moment: datetime) -> str:
    """As many as are in force, of those that are configured."""
    account = configured.get(pack.name.partition(":")[0])
    if account is None:
        return "not in the settings"
    allowed = limit(account.concurrency, pack.learned_limit, pack.learned_at, moment)
    return f"{allowed} of {account.concurrency}" if allowed < account.concurrency else f"{allowed}"


def _stop(pack: Pack) -> tuple[str, str]:
    return f"{pack.stopped_at:%Y-%m-%d %H:%M}" if pack.stopped_at else "", pack.stopped_reason or ""


@accounts.command("resume")
@click.argument("name")
def accounts_resume(name: str) -> None:
    """Let the account called NAME go on. It has all the slots that its URL says; what waits for it is due at once."""
    here, moment = Context(), now()
    known = Accounts(here.engine)
    packs = {pack.name for pack in known.all()}
    names = {*here.accounts, *(pack.partition(":")[0] for pack in packs)}
    if name not in names | packs:
        raise click.ClickException(f"there is no account {name}; there are {', '.join(sorted(names))}")
    resumed, forgotten = known.resume(name, moment), known.forget_limits(name, moment)
    if not resumed and not forgotten:
        raise click.ClickException(f"nothing of {name} is stopped, and none of its slots were unlearned")
    for pack in resumed:
        click.echo(f"{pack} may go on")
    for pack in forgotten:
        click.echo(f"{pack} has its configured slots again")


@click.command("callbacks")
@click.option("--days", type=click.IntRange(1, 36500), default=7, show_default=True, help="How far to look back.")
def callback_health(days: int) -> None:
    """Show how many ends of tasks a callback told of, and when.

    On time, after a poll had found the end, or never.
    """
    found = Inbox(Context().engine).health(now() - timedelta(days=days))
    click.echo(f"on time  {found.on_time:6}")
    click.echo(f"late     {found.late:6}  came after a poll had found the end")
    click.echo(f"missed   {found.missed:6}  none came so far; a poll found the end")
    if found.median is not None:
        click.echo(
            f"delay    {found.median:6.1f} s at the median, 95 of 100 within {found.slow:.1f} s, by Kling's clock"
        )


@click.command("set-aside")
@click.option("--limit", "most", type=click.IntRange(1), default=20, show_default=True, help="How many of the newest.")
def show_set_aside(most: int) -> None:
    """Show what was set aside, and why.

    That is: messages from other apps that could not become jobs; jobs and deliveries that end every process that works
    on them.
    """
    found = Aside(Context().engine).newest(most)
    for one in found:
        click.echo(terminal.printable(f"{one.at:%Y-%m-%d %H:%M:%S}  {one.task}  {one.reason}"))
        click.echo(f"    {terminal.printable(one.message.decode(errors='replace')[:500])}")
    if not found:
        click.echo("nothing was set aside")
