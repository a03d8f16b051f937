"""What `reelhook` says when its database is not there, is not migrated, or holds what strangers said."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from infra.stack.servers import Servers
from tests.conftest import environment_for
from tests.fakes import MORNING
from webhook import terminal
from webhook.cli import main
from worker.store.aside import Aside
from worker.store.steps import newest

COMMANDS = (
    "accounts list", "accounts resume default", "callbacks", "set-aside", "verify", "keys list", "keys create x",
    "subscriptions list", "subscriptions create https://127.0.0.1/", "deliveries list", "deliveries show msg_1",
)  # fmt: skip


@pytest.fixture
def typed(servers: Servers) -> Callable[..., Result]:
    """What `reelhook WORDS` does, with settings on the embedded servers but for those given."""
    given = environment_for(servers.addresses)

    def type_in(words: str, **changes: str) -> Result:
        return CliRunner().invoke(main, words.split(), env={**given, **changes})

    return type_in


def _database(address: str, name: str) -> str:
    return f"{address.rpartition('/')[0]}/{name}"


@pytest.mark.parametrize("words", COMMANDS)
def test_a_database_without_our_tables_is_said_in_one_line(
    typed: Callable[..., Result], servers: Servers, words: str
) -> None:
    """The line names the command that mends it; no statement and no traceback is shown."""
    answer = typed(words, DATABASE_URL=_database(servers.addresses.database_url, "postgres"))

    assert (1, 1) == (answer.exit_code, len(answer.output.splitlines()))
    assert "`reelhook migrate`" in answer.output


def test_the_doctor_says_that_steps_are_missing(typed: Callable[..., Result], servers: Servers) -> None:
    """A database without our tables is a fault that names the command that mends it."""
    answer = typed("doctor", DATABASE_URL=_database(servers.addresses.database_url, "postgres"))

    assert 1 == answer.exit_code
    assert ["`reelhook migrate`" in line for line in answer.output.splitlines() if line.startswith("FAULT")] == [True]


def test_the_doctor_says_that_the_last_step_is_missing(typed: Callable[..., Result], engine: Engine) -> None:
    """What the doctor itself asks for may be there long since; what the new version stores may not."""
    step = text("update alembic_version set version_num = :step")
    with engine.begin() as connection:
        connection.execute(step, {"step": "0001"})
    try:
        answer = typed("doctor")
    finally:
        with engine.begin() as connection:
            connection.execute(step, {"step": newest()})

    assert 1 == answer.exit_code
    assert ["`reelhook migrate`" in line for line in answer.output.splitlines() if line.startswith("FAULT")] == [True]


@pytest.mark.parametrize("words", ["migrate", *COMMANDS])
def test_a_database_that_can_t_be_reached_is_said_in_one_line(typed: Callable[..., Result], words: str) -> None:
    """The line names the setting and the reason, and not the password."""
    answer = typed(words, DATABASE_URL="postgresql://user:secretpassword@127.0.0.1:1/x")

    assert (1, 1) == (answer.exit_code, len(answer.output.splitlines()))
    assert "DATABASE_URL" in answer.output
    assert "Connection refused" in answer.output
    assert "secretpassword" not in answer.output


@pytest.mark.usefixtures("engine")
def test_an_account_that_is_none_is_said_in_words(typed: Callable[..., Result]) -> None:
    """By the doctor, too, whom one asks when nothing starts; its credentials are not shown."""
    answer = typed("doctor", KLING_URL="https://ACCESS:secretpassword@kling.example?concurrency=none")

    assert (1, True) == (answer.exit_code, isinstance(answer.exception, SystemExit))
    assert "KLING_URL: account 'default': concurrency is a whole number" in answer.output
    assert "secretpassword" not in answer.output


def test_a_wrong_password_is_said_to_be_one(typed: Callable[..., Result], servers: Servers) -> None:
    """The server's reason is shown, not only that there is one."""
    head, _, tail = servers.addresses.database_url.rpartition("@")
    answer = typed("keys list", DATABASE_URL=f"{head.rpartition(':')[0]}:secretpassword@{tail}")

    assert 1 == answer.exit_code
    assert "password authentication failed" in answer.output
    assert "secretpassword" not in answer.output


def test_slots_that_were_learned_are_shown_as_they_are_in_force(typed: Callable[..., Result], engine: Engine) -> None:
    """A lower limit is shown beside the configured one, and no longer once it is unlearned; an idle account, too."""
    learned = text("insert into accounts (name, learned_limit, learned_at) values (:name, 2, now() - :ago * :second)")
    with engine.begin() as connection:
        for name, ago in (("default:videos", 0), ("default:images", 3600), ("gone:videos", 0)):
            connection.execute(learned, {"name": name, "ago": ago, "second": timedelta(seconds=1)})
    shown = typed("accounts list", KLING_URL_SPARE="cometapi://KEY@?concurrency=5").output.splitlines()

    assert "account slots stopped since why" == " ".join(shown[0].split())
    assert [
        "default:images 20 - -",
        "default:videos 2 of 20 - -",
        "gone:videos not in the settings - -",
        "spare 5 - -",
    ] == [" ".join(line.split()) for line in shown[1:]]


def test_an_account_that_there_isn_t_is_not_let_go_on(typed: Callable[..., Result], engine: Engine) -> None:
    """A name that was mistyped is told from one that has nothing to resume; one that only rows name can be resumed."""
    with engine.begin() as connection:
        connection.execute(text("insert into accounts (name, stopped_at) values ('gone:videos', now())"))

    assert (1, "Error: there is no account defualt; there are default, gone\n") == (
        (answer := typed("accounts resume defualt")).exit_code,
        answer.output,
    )
    assert "nothing of default is stopped" in typed("accounts resume default").output
    assert (0, "gone:videos may go on\n") == ((answer := typed("accounts resume gone")).exit_code, answer.output)


def test_what_strangers_said_gives_a_terminal_no_orders(typed: Callable[..., Result], engine: Engine) -> None:
    """A message that was set aside is one line, without the escape sequences that it holds; markup stays as it is."""
    Aside(engine).put("reelhook.submit.v1", b"\x1b[2J[/b]\r\nline two", "no\x1b]0;title\x07job", MORNING)
    shown = typed("set-aside").output

    assert "\x1b" not in shown
    assert ["no ]0;title job", "[2J[/b] line two"] == [line.rpartition("v1 ")[2].strip() for line in shown.splitlines()]


def test_columns_are_as_wide_as_what_they_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is cut, however narrow the terminal; what is not said is a dash, so columns can be counted."""
    terminal.show(("id", "to"), [("msg_" + "0" * 32, "x" * 200), ("m", "")])

    assert f"id{' ' * 34}  to\nmsg_{'0' * 32}  {'x' * 200}\nm{' ' * 35}  -\n" == capsys.readouterr().out


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("words", ["callbacks --days 0", "callbacks --days 99999999", "set-aside --limit -1"])
def test_a_number_that_is_none_of_days_or_rows_is_refused_by_its_name(typed: Callable[..., Result], words: str) -> None:
    """Exit code 2 and the option's range, before the database or the calendar is asked."""
    answer = typed(words)

    assert (2, True) == (answer.exit_code, isinstance(answer.exception, SystemExit))
    assert f"Invalid value for '{words.split()[1]}'" in answer.output
