"""`reelhook check`: what is wrong with a request, before it costs money. Needs no server and no credentials."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from webhook.bodies import BadBody, parse_object
from worker.inputs import Inputs
from worker.jobs.references import BadReference, without
from worker.kling.earlier import named
from worker.kling.evaluate import RULES, Verdict, evaluate
from worker.kling.rule import Fault
from worker.kling.sources import cited


def judge(family: str, body: bytes, *, gateway: str, edition: str | None, strict: bool) -> Verdict:
    """The verdict on the request in `body`, whatever bytes it is. Raises what `evaluate` raises for unknown names."""
    by = partial(evaluate, family, gateway=gateway, edition=edition, strict=strict)
    try:
        asked = parse_object(body)
    except BadBody as problem:
        fault = Fault("body", "R003", f"{len(body)} bytes", str(problem), "DOC Ce")
        return by({})._replace(faults=(fault,), warnings=())
    verdict = by(without(asked))
    try:
        named(family, asked)
    except BadReference as problem:
        fault = Fault("after", "earlier jobs", "what it names", str(problem), "Reelhook")
        return verdict._replace(faults=(*verdict.faults, fault))
    media = Inputs(None, None).faults(family, verdict.request, edition=verdict.edition) if verdict.accepted else []
    return verdict._replace(faults=(*verdict.faults, *media))


def as_json(verdict: Verdict) -> str:
    """The verdict for other programs."""
    cost = verdict.cost
    return json.dumps(
        {
            "verdict": "accept" if verdict.accepted else "reject",
            "faults": [asdict(fault) for fault in verdict.faults],
            "warnings": [asdict(warning) for warning in verdict.warnings],
            "units": None if cost.units is None else str(cost.units),
            "list_price_usd": None if cost.usd is None else str(cost.usd),
            "edition": verdict.edition,
        },
        indent=2,
    )


def show(verdict: Verdict, console: Console) -> None:
    """The verdict for a person."""
    if verdict.accepted:
        console.print(Text("accepted", style="bold green"), Text(f"by edition {verdict.edition}", style="dim"))
    else:
        console.print(Text("refused", style="bold red"), Text(f"by edition {verdict.edition}", style="dim"))
    for style, faults in (("red", verdict.faults), ("yellow", verdict.warnings)):
        for fault in faults:
            console.print(_line(fault, style), soft_wrap=True)
    cost = verdict.cost
    if verdict.accepted and cost.units is not None:
        console.print(f"costs {cost.units} units, list price {cost.usd:.2f} USD", highlight=False)
    show_sources([fault.source for fault in (*verdict.faults, *verdict.warnings)], console)


def show_sources(sources: Iterable[str], console: Console) -> None:
    """What the short names stand for that `sources` are made of."""
    if named := cited(sources):
        console.print(Text("sources", style="dim"))
    for name, meaning in named.items():
        console.print(Text(f"  {name:<5}  {meaning}", style="dim"), soft_wrap=True)


def _line(fault: Fault, style: str) -> Text:
    text = Text("  ")
    text.append(fault.field, style=f"bold {style}")
    text.append(f"  {fault.allowed}", style=style)
    text.append(f"; found {fault.found}")
    return text.append(f"  [{fault.rule}, {fault.source}]", style="dim")


def show_rules(console: Console) -> None:
    """Every rule with its sentence, its families and its source, and what the sources are."""
    console.print(_rules_table())
    show_sources([rule.source for rule in RULES], console)


def _rules_table() -> Table:
    table = Table("rule", "what holds", "families", "refuses in", "source", show_lines=False)
    for row in _rows():
        table.add_row(*row)
    return table


def rules_markdown() -> str:
    """The same as a page."""
    rules = _page_table(("rule", "what holds", "families", "refuses in", "source"), _rows())
    return f"{rules}\n\n{_page_table(('source', 'what it is'), cited(rule.source for rule in RULES).items())}"


def _page_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _rows() -> list[tuple[str, str, str, str, str]]:
    rows = sorted(RULES, key=lambda rule: rule.id)
    return [(rule.id, rule.text, _families(rule.families), _when(rule), rule.source) for rule in rows]


def _families(paths: tuple[str, ...]) -> str:
    return "all" if len(paths) > 12 else ", ".join(path.partition("/")[2] for path in paths)


def _when(rule: Any) -> str:
    if rule.lenient:
        return "strict only, else warns"
    if not rule.refuses:
        return "warns"
    return "all editions" if len(rule.refuses) == 3 else ", ".join(sorted(rule.refuses))
