"""Deliveries to receivers that fail or hang: they rest, they are given up, and they keep nothing from the others."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from select import select as readable

import pytest
from sqlalchemy import select

from infra.hands import Hands
from tests.house import House
from tests.integration.deliveries_kit import ended, told, work
from tests.receiver import Receiver
from worker.jobs import circuit
from worker.jobs.circuit import OPENS_AFTER
from worker.store.tables import attempts, deliveries


def test_a_failing_receiver_rests_and_is_probed(home: House, app: Receiver) -> None:
    """After five failures in a row it is left alone for a while, whatever waits for it; then one attempt tells."""
    app.answers = [503] * OPENS_AFTER
    for number in range(20):
        ended(home, f"job{number}", app.url)
    for _ in range(OPENS_AFTER + 3):
        work(home)
    assert OPENS_AFTER == len(app.raw)
    work(home, 40)

    # The probe was taken, so the receiver is proven and gets all that waits.
    work(home)
    with home.services.engine.connect() as connection:
        states = connection.execute(select(deliveries.c.state, deliveries.c.due_at)).all()
    assert 20 - OPENS_AFTER <= [row.state for row in states].count("delivered")


def test_what_a_dead_receiver_never_took_is_given_up(home: House, app: Receiver) -> None:
    """Rows for one that rests do not wait for ever: they end with the schedule that they would have had."""
    app.answers = [503] * 99
    made = [ended(home, f"job{number}", app.url) for number in range(30)]
    for _ in range(OPENS_AFTER):
        work(home)
    work(home, 100 * 3600)

    assert {"given_up"} == {told(home, delivery)[0] for delivery in made}


@contextmanager
def silent() -> Iterator[socket.socket]:
    """A receiver that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def answered(home: House) -> list[int | None]:
    """What came of each attempt that has ended."""
    with home.services.engine.connect() as connection:
        return list(connection.execute(select(attempts.c.status)).scalars())


def test_fifty_dead_receivers_keep_nothing_from_a_healthy_one(
    home: House, app: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: while an attempt hangs at each of fifty, everything for the healthy one is delivered."""
    monkeypatch.setattr(circuit, "SLOW", math.inf)  # a machine that is busy makes no slow receiver
    hands, told = Hands(64), 60
    with ExitStack() as stack:
        dead = [stack.enter_context(silent()) for _ in range(50)]
        announcer = home.announcer(hands)
        for number, one in enumerate(dead):
            for again in range(3):
                ended(home, f"dead{number}-{again}", f"http://127.0.0.1:{one.getsockname()[1]}/hook")
        for number in range(told):
            ended(home, f"well{number}", app.url)
        home.queue.sent.clear()
        end = time.monotonic() + 60
        while len(done := answered(home)) < told or len(asked := readable(dead, [], [], 0)[0]) < 50:
            assert time.monotonic() < end, (len(done), hands.free)
            home.sweep()
            for _, _, (delivery,) in home.queue.sent:
                announcer.announce(delivery)
            home.queue.sent.clear()
            time.sleep(0.02)  # the threads' turn
        while hands.free < 14:  # whoever told the healthy one last puts its things away
            assert time.monotonic() < end, hands.free
            time.sleep(0.02)

        assert [200] * told == answered(home)  # nobody else's attempt has ended
        assert (50, 14) == (len(asked), hands.free)  # one at each of the dead, however much waits for it
    while hands.free < 64:
        assert time.monotonic() < end + 30
        time.sleep(0.02)
