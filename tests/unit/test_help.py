"""What `reelhook --help` says."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from webhook.cli import main

_GROUPS = [[], *([name] for name, command in main.commands.items() if isinstance(command, click.Group))]


@pytest.mark.parametrize("words", _GROUPS, ids=" ".join)
def test_no_command_s_line_is_cut(words: list[str]) -> None:
    """As on a terminal of 80 columns each command of a group is told of in a whole sentence."""
    answer = CliRunner().invoke(main, [*words, "--help"], terminal_width=78)
    told = answer.output.partition("Commands:\n")[2].splitlines()

    assert told
    assert [] == [line for line in told if not line.endswith(".") or line.endswith("...")]
