"""P4: a database that is lost as a job is stored makes no second job, and no answer that says what nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import requests
from sqlalchemy import Engine, select

from infra.db import make_engine
from infra.emulator import Config, Emulator
from infra.settings import Settings
from infra.stack.servers import Servers
from tests.house import OMNI, TEXT, House, house
from tests.proxy import FaultProxy, When
from worker.store.tables import jobs


class Way(NamedTuple):
    """A house, and the proxy on its way to the database."""

    home: House
    proxy: FaultProxy
    engine: Engine

    @property
    def stored(self) -> list[str]:
        """The jobs that there are."""
        with self.engine.connect() as connection:
            return list(connection.execute(select(jobs.c.id)).scalars())


@pytest.fixture
def way(servers: Servers, settings: Settings, engine: Engine) -> Iterator[Way]:
    """A house whose connections can be cut as something is said."""
    with Emulator(Config(log=False)) as emulator, FaultProxy("127.0.0.1", servers.postgres.port) as proxy:
        url = settings.database_url.replace(f":{servers.postgres.port}/", f":{proxy.port}/")
        cut = make_engine(settings.model_copy(update={"database_url": url}), application="tests", connections=2)
        with house(servers.addresses, cut, emulator) as home:
            yield Way(home, proxy, engine)
            proxy.off()
        cut.dispose()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_that_is_lost_as_a_job_is_stored_costs_nothing(way: Way, when: When) -> None:
    """Whether the insert had arrived or not: the answer is the usual one, and there is one job, the one it names."""
    cuts = [True]
    way.proxy.on(b"insert into jobs", lambda _: bool(cuts and cuts.pop()), when=when)
    answer = way.home.post(TEXT)

    assert (200, []) == (answer.status_code, cuts)
    assert [answer.json()["data"]["task_id"]] == way.stored


def test_what_nobody_knows_is_said_to_be_unknown(way: Way) -> None:
    """The second attempt is lost as well: 503 that does not call for another one, and names the job to ask for."""
    way.proxy.on(b"insert into jobs", lambda _: True, when="after")
    answer = way.home.post(TEXT)
    (job_id,) = way.stored

    assert (503, True) == (answer.status_code, "Retry-After" in answer.headers)
    assert f"is not known: ask for task {job_id}" in answer.json()["message"]


def test_a_claim_that_can_not_be_given_back_spoils_no_job(way: Way) -> None:
    """The connection breaks after the job was stored, as its Idempotency-Key is let go: it is accepted all the same."""
    cuts = [True]
    way.proxy.on(b"DELETE FROM claims", lambda _: bool(cuts and cuts.pop()))
    headers = {**way.home.headers, "Idempotency-Key": "once"}
    answer = requests.post(way.home.url + OMNI, json=TEXT, headers=headers, timeout=30)

    assert (200, []) == (answer.status_code, cuts)
    assert [answer.json()["data"]["task_id"]] == way.stored
