"""The lifecycle rules that a bucket should have: in each place of ours one ends uploads that nobody will go on with,
another, if wanted, ends old results. Rules that somebody else made stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from infra.object_store import ObjectStore
from infra.settings import Settings
from infra.store_errors import StoreError

Rule = Mapping[str, Any]

_ABORT, _EXPIRE = "reelhook-abort-unfinished-uploads", "reelhook-expire-results"
#: How stores say that they have no lifecycle rules, or not these.
NO_RULES = frozenset({"MalformedXML", "NotImplemented", "501", "MethodNotAllowed", "405"})
_LONGEST_ID = 255  #: characters, by S3
#: Days after which an upload can't be Reelhook's any more: it ends its own after one.
ABORT_DAYS = 2
#: The same where keys have no folder of ours, so that the rule is for others' uploads as well.
ABORT_DAYS_OF_ALL = 7


class WholeBucket(Exception):
    """Expiry was asked for, and the template of keys names no folder of ours: it would take what others have."""


def prefix_of(settings: Settings) -> str:
    """What all our keys begin with."""
    return settings.s3_key_template.partition("{")[0]


def command(bucket: str, settings: Settings) -> str:
    """What sets our rules in a bucket."""
    return "reelhook doctor --set-lifecycle" + (f" --bucket {bucket}" if bucket != settings.s3_bucket else "")


def rules(prefixes: Sequence[str], expire_days: int | None, *, versions: bool = False) -> list[Rule]:
    """Our rules for keys that begin with one of `prefixes`; none that expires anything after 0 days, or None.

    `versions`: whether the bucket keeps what is deleted, so that expiry alone would free nothing. Raises `WholeBucket`.
    """
    if expire_days:
        _not_of_others(prefixes)
    outer = [one for one in prefixes if not any(one != other and one.startswith(other) for other in prefixes)]
    return [rule for one in outer for rule in _of_place(one, expire_days, versions=versions)]


def _not_of_others(prefixes: Sequence[str]) -> None:
    for one in prefixes:
        if not one:
            raise WholeBucket("S3_KEY_TEMPLATE begins with a field: expiry would delete whatever else is in the bucket")
        if not one.endswith("/"):
            raise WholeBucket(
                f"S3_KEY_TEMPLATE has no / before its first field: expiry would delete whatever else begins with {one}"
            )


def _of_place(prefix: str, expire_days: int | None, *, versions: bool) -> Iterator[Rule]:
    common = {"Status": "Enabled", "Filter": {"Prefix": prefix}}
    abort, expire = (f"{name}:{prefix}"[:_LONGEST_ID] for name in (_ABORT, _EXPIRE))
    days = ABORT_DAYS if prefix.endswith("/") else ABORT_DAYS_OF_ALL
    yield {"ID": abort, **common, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days}}
    if expire_days:
        freed = {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}} if versions else {}
        yield {"ID": expire, **common, "Expiration": {"Days": expire_days}, **freed}


def merged(there: Sequence[Rule], ours: Sequence[Rule], *, expiry_stays: bool = False) -> list[Rule]:
    """The bucket's rules with `ours` in place of what we said before of the same places, but for expiry where it stays;
    what another deployment says of its own stays.
    """
    places, said = {_prefix(rule) for rule in ours}, {_ABORT} if expiry_stays else {_ABORT, _EXPIRE}
    return [*(dict(rule) for rule in there if not (_name(rule) in said and _prefix(rule) in places)), *ours]


def _name(rule: Rule) -> str:
    return str(rule.get("ID")).partition(":")[0]


def missing(there: Sequence[Rule], prefixes: Sequence[str]) -> list[str]:
    """Those of `prefixes` whose unfinished uploads no rule ends."""
    return [prefix for prefix in prefixes if not _covered(there, prefix)]


def _covered(there: Sequence[Rule], prefix: str) -> bool:
    return any(
        rule.get("Status") == "Enabled"
        and "AbortIncompleteMultipartUpload" in rule
        and prefix.startswith(_prefix(rule))
        for rule in there
    )


def keeping(there: Sequence[Rule], prefixes: Sequence[str]) -> list[str]:
    """Those of `prefixes` below which no rule ends versions that were deleted or written over."""
    ending = [rule for rule in there if "NoncurrentVersionExpiration" in rule and rule.get("Status") == "Enabled"]
    return [prefix for prefix in prefixes if not any(prefix.startswith(_prefix(rule)) for rule in ending)]


def days_until_expiry(there: Sequence[Rule], key: str) -> int | None:
    """Days after which a rule deletes the object under `key`; None where none does."""
    days = [
        rule["Expiration"]["Days"]
        for rule in there
        if rule.get("Status") == "Enabled" and "Days" in rule.get("Expiration", {}) and key.startswith(_prefix(rule))
    ]
    return min(days, default=None)


def _prefix(rule: Rule) -> str:
    """Of the keys that a rule is for; one that looks at tags or sizes too is for none of ours."""
    narrow = rule.get("Filter") or {}
    if set(narrow) - {"Prefix"}:
        return "\0"
    return str(narrow.get("Prefix", rule.get("Prefix", "")))


def _words_for(fault: StoreError) -> str:
    """Why a store took no rules, for a person."""
    if fault.code in NO_RULES:
        return (
            "the store takes no such rules. Without one Reelhook ends its own unfinished uploads after a day, if its "
            f"key may list them; results can't expire by rule ({fault})"
        )
    if fault.forbids:
        needed = "s3:GetLifecycleConfiguration and s3:PutLifecycleConfiguration"
        return f"the key is not permitted to do this: it needs {needed} ({fault})"
    return str(fault)


def _keeps_versions(store: ObjectStore, *, change: bool) -> bool:
    """Whether the bucket keeps versions; not, where its key may not ask: that takes a permission of its own."""
    try:
        return store.keeps_versions()
    except StoreError as fault:
        if change and not fault.forbids:
            raise
        said = "can't be read (s3:GetBucketVersioning), so the rule ends none"
        click.echo(f"Whether the bucket keeps versions {said} ({fault})", err=True)
        return False


def arrange(
    store: ObjectStore, prefixes: Sequence[str], others: Sequence[str], *, expire_days: int | None, change: bool
) -> None:
    """Print the lifecycle configuration that a bucket should have, foreign rules included, or set it. `others`: buckets
    that this is not done for, and that might be thought of.
    """
    try:
        wanted = rules(prefixes, expire_days, versions=bool(expire_days) and _keeps_versions(store, change=change))
        wanted = merged(store.lifecycle(), wanted, expiry_stays=expire_days is None)
        if change:
            store.set_lifecycle(wanted)
    except WholeBucket as fault:
        raise click.ClickException(str(fault)) from None
    except StoreError as fault:
        if change:
            raise click.ClickException(f"not set: {_words_for(fault)}") from None
        click.echo(f"Rules that are there can't be read; those below are ours only ({fault})", err=True)
    click.echo(json.dumps({"Rules": wanted}, indent=2, default=str))
    done = f"set in {store.bucket}" if change else "not set: --set-lifecycle does, and keeps what others have set"
    click.echo("; ".join([done, *(f"for {one} it takes --bucket {one}" for one in others)]), err=True)
