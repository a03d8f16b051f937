"""`python -m infra.emulator`: runs until SIGTERM or SIGINT. Each option can be an EMULATOR_* variable as well."""

import json
import signal
import sys
import threading
from pathlib import Path

import click

from infra.emulator.config import Config, Edition
from infra.emulator.emulator import Emulator

_DEFAULT = Config()


@click.command(context_settings={"auto_envvar_prefix": "EMULATOR", "show_default": True})
@click.option("--host", default=_DEFAULT.host)
@click.option("--port", default=_DEFAULT.port, help="0 takes a free one")
@click.option("--public-url", default="", help="what result URLs begin with; the listening address if empty")
@click.option(
    "--speed",
    default=_DEFAULT.speed,
    type=click.FloatRange(min=0, min_open=True),
    help="Kling's typical durations are divided by this",
)
@click.option("--access-key", default=_DEFAULT.access_key)
@click.option("--secret-key", default=_DEFAULT.secret_key)
@click.option("--api-key", default=_DEFAULT.api_key)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="folder of the result files")
@click.option("--concurrency", default=_DEFAULT.concurrency, help="slots per kind of resource pack")
@click.option("--balance", type=float, help="units in the account; without end if absent")
@click.option("--edition", type=click.Choice([str(edition) for edition in Edition]), default=str(_DEFAULT.edition))
@click.option("--strict/--lenient", default=_DEFAULT.strict, help="refuse what sources disagree about, too")
@click.option("--postpaid/--prepaid", default=_DEFAULT.postpaid, help="an empty account is in arrears")
@click.option("--log/--no-log", default=_DEFAULT.log)
def main(edition: str, **options: object) -> None:
    """A stand-in for Kling's `/v1` HTTP API."""
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    config = Config(edition=Edition(edition), **options)  # type: ignore[arg-type] # click has converted them
    with Emulator(config) as emulator:
        click.echo(json.dumps({"event": "listening", "url": emulator.url}))
        sys.stdout.flush()
        ending.wait()


if __name__ == "__main__":
    main()
