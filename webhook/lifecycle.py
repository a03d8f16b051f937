"""The lifecycle rules that a bucket should have: one ends uploads that nobody will go on with, another, if wanted, ends
old results. Rules that somebody else made stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from infra.object_store import ObjectStore, StoreError
from infra.settings import Settings

Rule = Mapping[str, Any]

_ABORT, _EXPIRE = "reelhook-abort-unfinished-uploads", "reelhook-expire-results"
#: Days after which an upload can't be Reelhook's any more: it ends its own after one.
ABORT_DAYS = 2


class WholeBucket(Exception):
    """Expiry was asked for, and the template of keys names no folder of ours: it would take everything."""


def prefix_of(settings: Settings) -> str:
    """What all our keys begin with."""
    return settings.s3_key_template.partition("{")[0]


def rules(prefix: str, expire_days: int | None) -> list[Rule]:
    """Our rules for keys that begin with `prefix`. Raises `WholeBucket`."""
    common = {"Status": "Enabled", "Filter": {"Prefix": prefix}}
    ours: list[Rule] = [{"ID": _ABORT, **common, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_DAYS}}]
    if expire_days is None:
        return ours
    if not prefix:
        raise WholeBucket("S3_KEY_TEMPLATE begins with a field: expiry would delete whatever else is in the bucket")
    return [*ours, {"ID": _EXPIRE, **common, "Expiration": {"Days": expire_days}}]


def merged(there: Sequence[Rule], ours: Sequence[Rule]) -> list[Rule]:
    """The bucket's rules with `ours` among them in place of what we said before."""
    return [*(dict(rule) for rule in there if rule.get("ID") not in {_ABORT, _EXPIRE}), *ours]


def missing(there: Sequence[Rule], prefix: str) -> bool:
    """Whether no rule ends the unfinished uploads of keys that begin with `prefix`."""
    return not any(
        rule.get("Status") == "Enabled"
        and "AbortIncompleteMultipartUpload" in rule
        and prefix.startswith(_prefix(rule))
        for rule in there
    )


def _prefix(rule: Rule) -> str:
    """Of the keys that a rule is for; one that looks at tags or sizes too is for none of ours."""
    narrow = rule.get("Filter") or {}
    if set(narrow) - {"Prefix"}:
        return "\0"
    return str(narrow.get("Prefix", rule.get("Prefix", "")))


def arrange(settings: Settings, store: ObjectStore, *, expire_days: int | None, change: bool) -> None:
    """Print the lifecycle configuration that a bucket should have, foreign rules included, or set it."""
    try:
        wanted = rules(prefix_of(settings), expire_days)
        wanted = merged(store.lifecycle(), wanted)
        if change:
            store.set_lifecycle(wanted)
    except WholeBucket as fault:
        raise click.ClickException(str(fault)) from None
    except StoreError as fault:
        if change:
            raise click.ClickException(f"not set: {fault}") from None
        click.echo(f"Rules that are there can't be read; those below are ours only ({fault})", err=True)
    click.echo(json.dumps({"Rules": wanted}, indent=2, default=str))
    click.echo("set" if change else "not set: --set-lifecycle does, and keeps what others have set", err=True)
