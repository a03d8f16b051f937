from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pytest
import redis
import requests
from botocore.exceptions import ClientError
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.stack.kept import Kept, free_port, is_free
from infra.stack.leftovers import identity
from infra.stack.postgres import Postgres
from infra.stack.process import StackError, wait_until
from infra.stack.s3 import client
from infra.stack.servers import Addresses, Servers

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 2**20


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """One set of servers for the tests that leave it running as they found it."""
    running = Servers(Path(mkdtemp(prefix="reelhook-test-")), fast=True)
    try:
        yield running.start()
    finally:
        running.discard()


def s3_of(at: Addresses) -> S3Client:
    """A client with the bucket's own keys."""
    return client(at.s3_endpoint_url, at.s3_access_key_id, at.s3_secret_access_key)


def fetch_one(url: str, statement: LiteralString) -> object:
    """The first column of the first row."""
    with psycopg.connect(url) as connection:
        row = connection.execute(statement).fetchone()
    return row[0] if row else None


def test_postgres_serves_our_database_by_password(servers: Servers) -> None:
    """The URL opens the database `reelhook`, and the same URL with another password does not."""
    url = servers.addresses.database_url

    assert "reelhook" == fetch_one(url, "select current_database()")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace("reelhook:", "reelhook:x", 1))


def test_redis_serves_by_password_only(servers: Servers) -> None:
    """Redis takes our password and turns away who has none."""
    with redis.Redis.from_url(servers.addresses.redis_url) as ours:
        ours.set("a", "b")

        assert b"b" == ours.get("a")
    with (
        redis.Redis(port=servers.redis.port, retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def test_s3_keeps_a_multipart_object_and_its_metadata(servers: Servers) -> None:
    """Two parts become one object with a `-2` ETag; a range and the metadata's own spelling come back."""
    s3, bucket = s3_of(servers.addresses), servers.addresses.s3_bucket
    where: Any = {"Bucket": bucket, "Key": "films/två/1.bin"}
    upload = s3.create_multipart_upload(**where, Metadata={"job-id": "7"})["UploadId"]
    bodies = [b"a" * 5 * MIB, b"b" * MIB]
    parts: list[Any] = [
        {"PartNumber": n, "ETag": s3.upload_part(**where, UploadId=upload, PartNumber=n, Body=body)["ETag"]}
        for n, body in enumerate(bodies, 1)
    ]
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})

    head = s3.head_object(**where)
    edge = s3.get_object(**where, Range=f"bytes={5 * MIB - 2}-{5 * MIB + 1}")

    assert 6 * MIB == head["ContentLength"]
    assert head["ETag"].endswith('-2"')
    assert {"job-id": "7"} == head["Metadata"]
    assert b"aabb" == edge["Body"].read()


def test_s3_presigned_link_opens_and_a_changed_one_does_not(servers: Servers) -> None:
    """A presigned GET needs no key; with one signature character changed, or for another object, it is 403."""
    s3, bucket = s3_of(servers.addresses), servers.addresses.s3_bucket
    s3.put_object(Bucket=bucket, Key="seen.txt", Body=b"seen")
    link = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "seen.txt"}, ExpiresIn=60)
    forged = link[:-1] + ("0" if link[-1] != "0" else "1")

    assert b"seen" == requests.get(link, timeout=60).content
    assert 403 == requests.get(forged, timeout=60).status_code
    assert 403 == requests.get(link.replace("seen.txt", "other.txt"), timeout=60).status_code


def test_s3_refuses_a_wrong_secret(servers: Servers) -> None:
    """Signatures are really checked."""
    at = servers.addresses
    stranger = client(at.s3_endpoint_url, at.s3_access_key_id, "x" * 40)

    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.list_objects_v2(Bucket=at.s3_bucket)


def test_postgres_and_s3_keep_their_data_over_a_crash(servers: Servers) -> None:
    """After kill -9 and a start, on the same ports, what was committed and stored is there."""
    at = servers.addresses
    with psycopg.connect(at.database_url) as connection:
        connection.execute("create table kept as select 42 as n")
    s3_of(at).put_object(Bucket=at.s3_bucket, Key="kept", Body=b"42")
    for server in (servers.postgres, servers.s3, servers.redis):
        server.kill()
        server.start()

    assert at == servers.addresses
    assert 42 == fetch_one(at.database_url, "select n from kept")
    assert b"42" == s3_of(at).get_object(Bucket=at.s3_bucket, Key="kept")["Body"].read()


def test_postgres_comes_back_though_one_of_its_own_takes_long_to_end(servers: Servers) -> None:
    """Its processes outlive it until they have heard of its death, and no other server may have their memory."""
    with psycopg.connect(servers.addresses.database_url) as connection:
        pid = connection.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        late = threading.Timer(1, os.kill, (pid, signal.SIGCONT))
        servers.postgres.kill()
        late.start()
        try:
            servers.postgres.start()
        finally:
            late.join()

    with psycopg.connect(servers.addresses.database_url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_memory_that_was_handed_on_is_nobodys_who_died(servers: Servers, tmp_path: Path) -> None:
    """After a restart of the machine another server's memory may have the id that was ours: nobody waits for that."""
    ours = Postgres(tmp_path, Kept(tmp_path / "kept.json"), fast=True)
    said = (servers.postgres.data / "postmaster.pid").read_text().splitlines()
    key, number = said[6].split()
    ours.data.mkdir(parents=True)
    (ours.data / "postmaster.pid").write_text("\n".join([*said[:6], f"{int(key) + 1} {number}", *said[7:]]))

    assert (True, False) == (servers.postgres._is_held(), ours._is_held())
    ours.discard()


def test_a_second_process_is_told_that_the_folder_is_in_use(servers: Servers) -> None:
    """Two sets of servers never share a state folder."""
    with pytest.raises(StackError, match="uses the state folder"):
        Servers(servers.state).start()


def test_a_second_run_finds_data_addresses_and_nothing_running(tmp_path: Path) -> None:
    """stop() leaves no process; start() on the folder, durable this time, finds the rows under the same URLs."""
    servers = Servers(tmp_path / "state")
    with servers:
        first = servers.addresses
        pids = [servers.postgres.pid, servers.redis.pid, servers.s3.pid]
        with psycopg.connect(first.database_url) as connection:
            connection.execute("create table kept as select 42 as n")

    assert [None] * 3 == [identity(pid) for pid in pids]
    with Servers(tmp_path / "state") as again:
        assert first == again.addresses
        assert 42 == fetch_one(first.database_url, "select n from kept")
    servers.discard()


def test_a_port_that_somebody_took_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that loses the race for its port gets another one instead of failing."""
    servers = Servers(tmp_path / "state", fast=True)
    redis_server = servers.redis
    taken = free_port()
    with socket.create_server(("127.0.0.1", taken)):
        monkeypatch.setattr(servers.kept, "port", lambda _: taken)
        redis_server.start()
        try:
            assert taken != redis_server.port
            assert redis_server.answers()
        finally:
            redis_server.stop()


def test_a_server_that_cannot_run_takes_the_others_with_it(tmp_path: Path) -> None:
    """When one fails to start, its error is raised and the other two are gone."""
    servers = Servers(tmp_path / "state", fast=True)
    (tmp_path / "state" / "redis" / "redis.conf").mkdir(parents=True)

    with pytest.raises(OSError, match=r"redis\.conf"):
        servers.start()

    for server in (servers.postgres, servers.s3):
        with pytest.raises(StackError, match="not running"):
            _ = server.pid
        assert is_free(server.port)
    assert [] == list((tmp_path / "state" / "run").glob("*"))
    servers.discard()


PARENT = """
import sys, time
from pathlib import Path
from infra.stack.servers import Servers
servers = Servers(Path(sys.argv[1]), fast=True).start()
print(servers.postgres.pid, servers.redis.pid, servers.s3.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_nothing_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    """After kill -9 of the process that started them, the servers are gone, and the folder serves the next run."""
    state = tmp_path / "state"
    command = [sys.executable, "-c", PARENT, str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:  # noqa: S603 - our own script
        assert parent.stdout
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)

    assert 3 == len(pids)
    assert wait_until(lambda: not any(map(identity, pids)), 60)
    with Servers(state, fast=True) as servers:
        assert 1 == fetch_one(servers.addresses.database_url, "select 1")
    servers.discard()


def test_a_leftover_is_recognised_and_ended(tmp_path: Path) -> None:
    """A recorded process that still runs is ended by the next start; an id that is now somebody else's is not."""
    state = tmp_path / "state"
    (state / "run").mkdir(parents=True)
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    with (
        subprocess.Popen(sleeper, start_new_session=True) as ours,  # noqa: S603 - our own script
        subprocess.Popen(sleeper, start_new_session=True) as stranger,  # noqa: S603 - as above
    ):
        for name, process, known in (("ours", ours, identity(ours.pid)), ("stranger", stranger, "another boot 17")):
            text = f'{{"pid": {process.pid}, "identity": "{known}", "signal": 15}}'
            (state / "run" / f"{name}.json").write_text(text)

        with Servers(state, fast=True) as servers:
            assert -signal.SIGTERM == ours.wait(60)
            assert stranger.poll() is None
        stranger.kill()
    servers.discard()


def open_ones(state: Path, secret: bytes) -> Iterator[Path]:
    """Files that others may read and that hold a secret. Servers that run remove files, and folders, meanwhile."""
    for folder, _, names in os.walk(state):
        for path in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):
                readable = path.is_file() and os.access(path, os.R_OK)
                if readable and path.stat().st_mode & 0o077 and secret in path.read_bytes():
                    yield path


def test_secrets_are_readable_by_their_owner_only(servers: Servers) -> None:
    """Files that hold a secret have mode 0600, and no command line shows one."""
    secret = servers.s3.secret_key.encode()

    assert [] == list(open_ones(servers.state, secret))
    for server in (servers.postgres, servers.redis, servers.s3):
        command = Path(f"/proc/{server.pid}/cmdline")
        if command.exists():
            assert secret not in command.read_bytes()


def test_a_bucket_of_ones_own_takes_the_place_of_the_server(servers: Servers, tmp_path: Path) -> None:
    """With STACK_S3_* set no S3 server starts, and a bucket that can't be used is said at once."""
    at = servers.addresses
    names = ("ENDPOINT_URL", "BUCKET", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    values = (at.s3_endpoint_url, at.s3_bucket, at.s3_access_key_id, at.s3_secret_access_key)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(names, values, strict=True):
            patch.setenv(f"STACK_S3_{name}", value)
        given = Servers(tmp_path / "state").s3
        patch.setenv("STACK_S3_BUCKET", "not-there")
        wrong = Servers(tmp_path / "state").s3

    given.start()
    assert (at.s3_endpoint_url, at.s3_secret_access_key) == (given.url, given.secret_key)
    with pytest.raises(StackError, match="not-there"):
        wrong.start()
