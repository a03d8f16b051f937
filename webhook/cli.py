"""`reelhook`: the door for a terminal.

Only the command that is asked for is loaded, so that none waits for the libraries of the others.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import MappingProxyType
from typing import Any

_STOPPED = 130  #: what a shell says of a command that Ctrl-C has ended

try:
    import click
except KeyboardInterrupt:
    sys.exit(_STOPPED)

#: Where each command is.
_COMMANDS = MappingProxyType(
    {
        "accounts": "webhook.operate_cli:accounts",
        "adopt": "webhook.adopt_cli:adopt",
        "callbacks": "webhook.operate_cli:callback_health",
        "check": "webhook.check_cli:check_request",
        "deliveries": "webhook.subscriptions_cli:deliveries",
        "doctor": "webhook.doctor:doctor",
        "keys": "webhook.keys_cli:keys",
        "migrate": "webhook.operate_cli:migrate",
        "set-aside": "webhook.operate_cli:show_set_aside",
        "subscriptions": "webhook.subscriptions_cli:subscriptions",
        "verify": "webhook.verify:verify",
    }
)


class _Commands(click.Group):
    """Commands that say in a sentence what settings or database refuse; a traceback would bury it under statements."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """All there are."""
        return sorted(_COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """The one of that name, loaded; None where there is none."""
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the one that was asked for. Raises `click.ClickException` where settings or database are wrong."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(_STOPPED) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as fault:  # of which it is a sentence, only loaded libraries can tell
            from webhook.terminal import words_for  # noqa: PLC0415 - as said

            if words := words_for(fault):
                raise click.ClickException(words) from None
            raise


@click.group(cls=_Commands)
def main() -> None:
    """Durable Kling video generation."""


if __name__ == "__main__":
    main()
