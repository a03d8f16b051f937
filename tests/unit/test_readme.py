"""The documents for people name only what is there."""

from __future__ import annotations

import json
import re
import shlex
from itertools import accumulate
from pathlib import Path

import click
import pytest

from infra.settings import Settings
from infra.stores import PLATFORMS
from webhook.check import judge
from webhook.cli import main
from worker.jobs import events
from worker.kling.catalog import FAMILIES

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "tests/bench/README.md")
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_to_a_file(document: str) -> None:
    """A file that is linked to is there, also from the folder of the document."""
    page = ROOT / document
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())

    assert [] == [link for link in links if not (page.parent / link).exists()]


def test_the_map_names_only_what_is_there() -> None:
    """Each file that "Where is what" names lies in the folder beside whose name it stands."""
    plan = README.partition("## Where is what")[2].split("```")[1]
    rows = [(row.partition("/ ")[0] if row[0] != " " else "", row) for row in plan.strip("\n").splitlines()]
    folders = accumulate(rows, lambda last, row: row if row[0] else (last[0], row[1]))
    named = [(folder, name) for folder, row in folders for name in re.findall(r"(?<![\w./])(\w+\.py)", row)]

    assert len(named) > 20
    assert [] == [(folder, name) for folder, name in named if not (ROOT / folder / name).exists()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_target_of_make_is_there(document: str) -> None:
    """`make X` as it stands in the text: in backticks, or at the head of a line of commands."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    said = set(re.findall(r"(?:`make |^make (?=[a-z]+ +#))([a-z]+)", (ROOT / document).read_text(), re.MULTILINE))

    assert said
    assert set() == said - targets


def test_every_command_and_option_is_there() -> None:
    """`reelhook X --option` as it stands in the text, and what stands behind a command with subcommands."""
    said = [shlex.split(words) for words in re.findall(r"`reelhook ([a-z][^`]*)`", README)]

    assert len(said) > 12
    assert [] == [words for words in said if not _is_command(words)]


def _is_command(words: list[str]) -> bool:
    command: click.Command | None = main
    while isinstance(command, click.Group) and words and words[0].islower():
        command = command.get_command(click.Context(command), words.pop(0).rstrip(","))
    known = {option for one in command.params for option in one.opts} if command else set()
    return command is not None and {word for word in words if word.startswith("--")} <= known


def test_every_setting_is_there() -> None:
    """What stands in capitals and backticks is a setting, or a name that a platform gives to one."""
    ours = {str(name) for field in Settings.model_fields.values() for name in _aliases(field.validation_alias)}
    theirs = {name for one in PLATFORMS for names in (one.key, one.secret, one.bucket, one.endpoint) for name in names}
    said = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`", README))

    assert len(said) > 15
    assert set() == said - ours - theirs


def _aliases(alias: object) -> list[object]:
    return list(getattr(alias, "choices", [alias]))


def test_every_request_is_one_that_is_accepted() -> None:
    """The bodies that stand behind a family's path can be sent as they are."""
    bodies = re.findall(r"/v1/((?:videos|images)/[a-z0-9-]+)[\" ][^{`]*?({.*?})(?:'|\n)", README, re.DOTALL)

    assert len(bodies) >= 4
    for family, body in bodies:
        verdict = judge(family, body.encode(), gateway="official", edition=None, strict=True)
        assert json.loads(body)
        assert (family in FAMILIES, ()) == (True, tuple(verdict.faults))


def test_every_event_is_there() -> None:
    """The table of events names all of them, and none that nobody sends."""
    said = set(re.findall(r"`(video\.[a-z]+|job\.attention)`", README.partition("## Events")[2].partition("\n## ")[0]))

    assert set(events.TYPES) == said


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_line_is_too_long_to_read(document: str) -> None:
    """Prose and commands fit a terminal; rows of tables can't be broken."""
    lines = (ROOT / document).read_text().splitlines()

    assert [] == [line for line in lines if len(line) > 128 and not line.startswith("|")]
