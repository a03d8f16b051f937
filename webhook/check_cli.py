"""`reelhook check`: judge a request before it costs money."""

from __future__ import annotations

import sys
from typing import IO

import click
from rich.console import Console

from webhook import check
from worker.kling import catalog
from worker.kling.errors import UnknownEdition, UnknownFamily, UnknownGateway


@click.command("check")
@click.argument("family", required=False)
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--gateway", default="official", show_default=True, help="Whose document decides where sources differ.")
@click.option("--edition", help="Of Kling's reference; the newest, or the gateway's own, unless said.")
@click.option("--strict", is_flag=True, help="Refuse what is merely tolerated.")
@click.option("--json", "machine", is_flag=True, help="Print the verdict as JSON.")
@click.option("--rules", is_flag=True, help="List every rule with its source instead.")
@click.option("--markdown", is_flag=True, help="With --rules: as a page.")
def check_request(
    *,
    family: str | None,
    file: IO[bytes],
    gateway: str,
    edition: str | None,
    strict: bool,
    machine: bool,
    rules: bool,
    markdown: bool,
) -> None:
    """Judge a request before it costs money, without a server.

    FILE (or -, standard input) holds it, FAMILY is such as videos/omni-video, or omni-video.

    Exits 0 when it is accepted, 1 when it is refused, 2 when the question was wrong. Needs no server.
    """
    if rules:
        click.echo(check.rules_markdown()) if markdown else check.show_rules(Console())
        return
    if family is None:
        raise click.UsageError("Missing argument 'FAMILY'.")
    try:
        path = catalog.family(family).path
        verdict = check.judge(path, file.read(), gateway=gateway, edition=edition, strict=strict)
    except (UnknownFamily, UnknownGateway, UnknownEdition) as fault:
        raise click.UsageError(str(fault)) from None
    if machine:
        click.echo(check.as_json(verdict))
    else:
        check.show(verdict, Console())
    sys.exit(0 if verdict.accepted else 1)
