import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.stack import procfile
from infra.stack.leftovers import group_lives, identity
from infra.stack.process import StackError, wait_until
from infra.stack.procfile import Runner, parse, shell

ENV = {"PATH": os.environ["PATH"]}
SLEEPS = f'{sys.executable} -c "import time; time.sleep(60)"'
WORDS = st.text("abcdefghijklmnop -./=$", min_size=1).map(str.strip).filter(bool)


def runner(state: Path, commands: Mapping[str, str], grace: float = 100, **more: object) -> Runner:
    """A runner whose folder is the test's own."""
    return Runner(commands, ENV, state, cwd=state, grace=grace, **more)  # type: ignore[arg-type] # by name only


def eventually(condition: Callable[[], object]) -> bool:
    """Whether it comes true soon."""
    return wait_until(lambda: bool(condition()), 100)


def read(path: Path) -> str:
    """What the file holds so far."""
    return path.read_text() if path.exists() else ""


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True), WORDS))
def test_a_procfile_is_read_as_it_is_written(commands: dict[str, str]) -> None:
    """Names, commands and order survive; comments and empty lines do not count."""
    text = "\n\n".join(f"# about\n{name}: {command}" for name, command in commands.items())

    assert list(commands.items()) == list(parse(text).items())


def test_a_line_that_is_no_process_is_named() -> None:
    """A Procfile with a line that is none is refused, with the line."""
    with pytest.raises(StackError, match="`just words`"):
        parse("web: x\njust words\n")


@pytest.mark.parametrize("command", ["migrate && seed", "A=1 run", "one; two", "cat x | sort", "(cd x; run)"])
def test_a_compound_command_is_left_to_the_shell(command: str) -> None:
    """`exec` before these would lose a part of them."""
    assert ["/bin/sh", "-c", command] == shell(command)


def test_a_simple_command_replaces_its_shell() -> None:
    """Quotes with shell signs in them and expansions are still one command."""
    assert ["/bin/sh", "-c", 'exec run "a; b && c" --n=${N:-4}'] == shell('run "a; b && c" --n=${N:-4}')


def test_release_runs_to_its_end_first(tmp_path: Path) -> None:
    """release() returns after the command ended well."""
    runner(tmp_path, {"release": "touch made && echo done"}).release()

    assert (tmp_path / "made").exists()
    assert "done\n" == read(tmp_path / "logs" / "release.log")


def test_a_failed_release_shows_its_output(tmp_path: Path) -> None:
    """The error holds the exit code and what the command said."""
    with pytest.raises(StackError, match=r"release exited 3:\nno such table"):
        runner(tmp_path, {"release": "echo no such table >&2; exit 3"}).release()


def test_each_process_gets_its_own_environment_and_log(tmp_path: Path) -> None:
    """PORT reaches web alone, and each one's output is in a file of its name."""
    show = 'sh -c "echo port=$PORT; sleep 60"'
    running = runner(tmp_path, {"web": show, "worker": show}, own_env={"web": {"PORT": "81"}})
    running.start()
    try:
        assert eventually(lambda: read(running.log("web")) and read(running.log("worker")))
        assert "port=81\n" == read(running.log("web"))
        assert "port=\n" == read(running.log("worker"))
    finally:
        running.stop()


def test_a_process_that_dies_is_started_again_without_its_children(tmp_path: Path) -> None:
    """After kill -9 the group's rest is ended before a new one starts, and the observer sees each change."""
    seen: list[dict[str, int]] = []
    command = f"sleep 61 & echo $! >> children; exec {SLEEPS}"
    running = runner(tmp_path, {"worker": command}, observe=lambda pids: seen.append(dict(pids)))
    running.start()
    try:
        assert eventually(lambda: seen and read(tmp_path / "children").strip())
        first, child = running.pids["worker"], int(read(tmp_path / "children"))
        os.kill(first, signal.SIGKILL)

        assert eventually(lambda: len(seen) == 3)
        assert first != running.pids["worker"]
        assert identity(child) is None
        assert not group_lives(first)
        assert [{"worker": first}, {}, running.pids] == seen
    finally:
        running.stop()
    assert {} == seen[-1]


def test_a_process_that_keeps_dying_ends_it_with_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After five quick deaths check() names the process, how it ended, and its last twenty lines."""
    monkeypatch.setattr(procfile, "QUICK_DEATH_SECONDS", 3600)  # an interpreter may take its time only to begin
    numbers = f"{sys.executable} -c \"print(*range(100), sep='\\n'); raise SystemExit(7)\""
    running = runner(tmp_path, {"beat": SLEEPS, "worker": numbers})
    running.start()
    try:
        with pytest.raises(StackError) as failure:
            assert not eventually(running.check)
    finally:
        running.stop()

    first, *lines = str(failure.value).splitlines()
    assert "worker keeps dying (exit 7, 5 times in a row). Its last lines:" == first
    assert [str(n) for n in range(80, 100)] == lines


def test_stop_lets_processes_finish(tmp_path: Path) -> None:
    """SIGTERM comes first: a process that handles it ends in its own way."""
    tidy = "trap 'echo tidy; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    running = runner(tmp_path, {"web": tidy})
    running.start()
    try:
        assert eventually(lambda: "ready" in read(running.log("web")))
    finally:
        running.stop()

    assert ["ready", "tidy"] == [line for line in read(running.log("web")).splitlines() if line != "Terminated"]


def test_stop_leaves_nothing_even_of_those_who_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ignores SIGTERM, with a child that does too, is gone when the grace period is over."""
    waited: list[float] = []

    def wait(condition: Callable[[], bool], seconds: float) -> bool:
        waited.append(seconds)
        return wait_until(condition, seconds)

    monkeypatch.setattr(procfile, "wait_until", wait)
    deaf = "trap '' TERM; sleep 62 & echo $!; wait; sleep 63"
    running = runner(tmp_path, {"web": deaf, "worker": SLEEPS}, grace=0.5)
    running.start()
    try:
        assert eventually(lambda: len(running.pids) == 2 and read(running.log("web")).strip())
        groups = list(running.pids.values())
    finally:
        begun = time.monotonic()
        running.stop()

    assert [0.5] == waited
    assert 0.5 <= time.monotonic() - begun
    assert [False, False] == [group_lives(group) for group in groups]
    assert [] == list((tmp_path / "run").glob("*"))
