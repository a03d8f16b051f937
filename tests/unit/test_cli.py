from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from webhook.cli import main


def test_every_command_is_where_it_is_looked_for() -> None:
    """By its own name, and with words for the list of all."""
    context = click.Context(main)
    commands = [main.get_command(context, name) for name in main.list_commands(context)]

    assert main.list_commands(context) == [one.name for one in commands if one and one.get_short_help_str()]
    assert main.get_command(context, "nonsense") is None


@pytest.mark.parametrize("library", ["click", "pydantic", "sqlalchemy", "botocore"])
def test_ctrl_c_before_a_command_has_begun_ends_it_quietly(root: Path, tmp_path: Path, library: str) -> None:
    """Whichever library is being loaded just then: exit code 130, and not a word."""
    (tmp_path / f"{library}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport this\n")
    command = [sys.executable, "-m", "webhook.cli", "verify"]
    told = subprocess.run(  # noqa: S603 - a fixed command
        command, cwd=root, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )

    assert (130, "", "") == (told.returncode, told.stdout, told.stderr)


def test_a_command_loads_nothing_of_the_others(root: Path) -> None:
    """Whoever mistypes one waits for no library of a store, a database or a broker."""
    said = "import sys; from webhook.cli import main; main(['nonsense'], standalone_mode=False)"
    told = subprocess.run(  # noqa: S603 - a fixed command
        [sys.executable, "-X", "importtime", "-c", said],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines() if "|" in line}

    assert "No such command" in told.stderr
    assert {"click"} == loaded & {"click", "av", "boto3", "botocore", "celery", "flask", "pydantic", "sqlalchemy"}
