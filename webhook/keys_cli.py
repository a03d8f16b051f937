"""`reelhook keys`: who may come through the door, and what for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import click
from sqlalchemy.exc import IntegrityError

from infra.settings import Settings
from infra.stores import only_bucket
from webhook import terminal
from worker.jobs import access
from worker.jobs.access import Scope
from worker.jobs.tokens import signing_secret
from worker.services import now
from worker.store.keys import ApiKey, ApiKeys, Terms

_SPAN = re.compile(r"(\d{1,6})([smhd])")
_WHOLE = re.compile(r"[1-9]\d{0,6}")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Span(click.ParamType[timedelta | None]):
    """A length of time: 90s, 30m, 24h, 90d."""

    name = "SPAN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | None:
        """The span; None for `never`."""
        if isinstance(value, timedelta):
            return value
        if value == "never":
            return None
        match = _SPAN.fullmatch(value)
        if not match:
            self.fail(f"{value!r} is no length of time such as 90s, 30m, 24h or 90d", param, ctx)
        return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _some(_: click.Context, option: click.Parameter, span: timedelta | None) -> timedelta | None:
    """A key that is over as it is made opens nothing."""
    if span == timedelta(0):
        raise click.BadParameter("a key must open for some time; `reelhook keys revoke` ends one", param=option)
    return span


class Scopes(click.ParamType[tuple[Scope, ...]]):
    """Scopes, separated by commas."""

    name = "SCOPES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Scope, ...]:
        """They, in their own order."""
        names = {name.strip() for name in value.split(",")} if isinstance(value, str) else set(value)
        if not names or names - set(Scope):
            self.fail(f"{value!r} must be one or more of {', '.join(Scope)}, separated by commas", param, ctx)
        return tuple(scope for scope in Scope if scope in names)


class Prefix(click.ParamType[str]):
    """A place in the bucket; / is its root."""

    name = "PREFIX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """It, without slashes around it."""
        try:
            return access.prefix(value)
        except access.BadPlace as fault:
            self.fail(str(fault), param, ctx)


class Bucket(click.ParamType[str]):
    """A bucket of the store."""

    name = "BUCKET"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Its name."""
        try:
            return access.bucket(value)
        except access.BadPlace as fault:
            self.fail(str(fault), param, ctx)


class Limit(click.IntRange):
    """A number from 1, or `none`."""

    name = "NUMBER"

    def __init__(self) -> None:
        super().__init__(1, 1_000_000)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; 0 for `none`."""
        return 0 if value == "none" else int(super().convert(value, param, ctx))


class Slots(click.ParamType[dict[str, int | None]]):
    """Slots of an account: a number, a part such as 30%, or `none`."""

    name = "NUMBER|PERCENT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int | None]:
        """What the terms are to say."""
        if isinstance(value, dict):
            return value
        number, percent, _ = str(value).partition("%")
        most = 100 if percent else 1_000_000
        none = value == "none"
        if not none and (str(value) != number + percent or not _WHOLE.fullmatch(number) or int(number) > most):
            self.fail(f"{value!r} must be a number from 1, a part from 1% to 100%, or none", param, ctx)
        said = None if none else int(number)
        return {"slots": None if percent else said, "slots_percent": said if percent else None}


def _terms(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say what a key may do."""
    options = (
        click.option("--scopes", type=Scopes(), help="Of submit, read, operate; all of them unless said."),
        click.option(
            "--prefix",
            "prefixes",
            type=Prefix(),
            multiple=True,
            help="Where in the bucket its files go; more of them: where a request may have them go. / is the root.",
        ),
        click.option(
            "--bucket",
            "buckets",
            type=Bucket(),
            multiple=True,
            help="That its files go to; more of them: what a request may choose. S3_BUCKET unless said.",
        ),
        click.option(
            "--slots",
            type=Slots(),
            help="Slots of an account that its jobs may hold at once, or a part such as 30%, rounded up; or none.",
        ),
        click.option("--per-minute", type=Limit(), help="Requests that it may make a minute; or none."),
        click.option("--expires", type=Span(), default=None, callback=_some, help="From now, such as 90d; or never."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True)
class _Here:
    """What the commands work with."""

    rows: ApiKeys
    secret: bytes
    settings: Settings


def _changed(here: _Here, terms: Terms, at: datetime, given: dict[str, Any]) -> Terms:
    """`terms` with what was given on the command line."""
    _may_have(here.settings, given["buckets"], given["prefixes"])
    said = {name: value for name, value in given.items() if value not in (None, ())}
    if "per_minute" in said:
        said["per_minute"] = said["per_minute"] or None
    said |= said.pop("slots", {})
    if expires := said.pop("expires", None):
        said["expires_at"] = at + expires
    return replace(terms, **said)


def _may_have(settings: Settings, buckets: tuple[str, ...], prefixes: tuple[str, ...]) -> None:
    own, ends = settings.s3_bucket, (settings.s3_endpoint_url, settings.s3_public_endpoint_url)
    others = [bucket for bucket in buckets if bucket != own]
    if others and (reason := only_bucket(own, settings.s3_key_prefix, *ends)):
        raise click.ClickException(f"--bucket {others[0]}: there is no bucket beside {own} here: {reason}")
    folder = settings.s3_key_prefix
    if outside := [one for one in prefixes if folder and not f"{one}/".startswith(f"{folder}/")]:
        reason = "the only folder that the store's key may use, as at Cloudcube"
        raise click.ClickException(f"--prefix {outside[0] or '/'}: must begin with {folder}/, {reason}")


@click.group()
@click.pass_context
def keys(context: click.Context) -> None:
    """API keys: who may come through the door, and what for."""
    settings = terminal.settings()
    secret = settings.secret
    context.obj = _Here(ApiKeys(terminal.engine_of(settings), secret), secret, settings)


@keys.command("create")
@click.argument("name")
@_terms
@click.pass_obj
def create(here: _Here, /, name: str, **given: Any) -> None:
    """Make a key called NAME. It is shown this once."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise click.ClickException("a name is 1 to 64 letters, digits and any of _ . -")
    at = now()
    terms = _changed(here, Terms(), at, given)
    try:
        key = here.rows.create(name, at, terms)
    except IntegrityError:
        raise click.ClickException(f"there is a key called {name} already") from None
    _show(name, key)
    click.echo(f"signing secret  {signing_secret(here.secret, name)}")


@keys.command("change")
@click.argument("name")
@_terms
@click.pass_obj
def change(here: _Here, /, name: str, **given: Any) -> None:
    """Change what the key called NAME may do. What is not said stays."""
    key = here.rows.get(name)
    if key is None:
        raise click.ClickException(f"there is no key called {name}")
    here.rows.change(name, _changed(here, key.terms, now(), given))
    click.echo(f"{name} is changed")


@keys.command("rotate")
@click.argument("name")
@click.option("--overlap", type=Span(), default="24h", show_default=True, help="For so long the old key opens too.")
@click.pass_obj
def rotate(here: _Here, name: str, overlap: timedelta | None) -> None:
    """Make a new key for NAME. It is shown this once."""
    at, length = now(), overlap or timedelta(0)
    key = here.rows.rotate(name, at, length)
    if key is None:
        raise click.ClickException(f"there is no key called {name} that opens anything")
    _show(name, key)
    click.echo(f"the old key     opens until {at + length:%Y-%m-%d %H:%M} UTC" if length else "the old key is void")


@keys.command("list")
@click.pass_obj
def show_all(here: _Here) -> None:
    """Show all keys by name, and what they may do."""
    headers = ("name", "begins with", "scopes", "buckets", "prefixes", "slots", "a minute", "last used", "state")
    terminal.show(headers, [_row(key, key.terms) for key in here.rows.all()])


@keys.command("secret")
@click.argument("name")
@click.pass_obj
def secret(here: _Here, name: str) -> None:
    """Show the secret that signs deliveries to a callback_url. It is of the key called NAME; `default` is
    REELHOOK_API_KEY.
    """
    if here.rows.get(name) is None:
        raise click.ClickException(f"there is no key called {name}")
    click.echo(signing_secret(here.secret, name))


@keys.command("revoke")
@click.argument("name")
@click.pass_obj
def revoke(here: _Here, name: str) -> None:
    """Turn the key called NAME away from now on."""
    if not here.rows.revoke(name, now()):
        raise click.ClickException(f"there is no key called {name} that could be revoked")
    click.echo(f"{name} is revoked")


def _show(name: str, key: str) -> None:
    click.echo(f"API key         {key}")
    click.echo(f"                or, for a client that signs: AccessKey {name}, SecretKey the API key")


def _row(key: ApiKey, terms: Terms) -> tuple[str, ...]:
    return (
        key.name,
        f"{key.begins}...",
        ",".join(terms.scopes),
        " ".join(terms.buckets),
        " ".join(prefix or "/" for prefix in terms.prefixes),
        f"{terms.slots_percent}%" if terms.slots_percent else str(terms.slots or ""),
        str(terms.per_minute or ""),
        _moment(key.used_at),
        _state(key, now()),
    )


def _state(key: ApiKey, at: datetime) -> str:
    if key.revoked_at:
        return f"revoked {_moment(key.revoked_at)}"
    if key.terms.expires_at and key.terms.expires_at <= at:
        return f"expired {_moment(key.terms.expires_at)}"
    notes = [
        f"expires {_moment(key.terms.expires_at)}" if key.terms.expires_at else "",
        f"the one before until {_moment(key.old_until)}" if key.old_until and key.old_until > at else "",
    ]
    return "; ".join(filter(None, notes)) or "opens"


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else ""
