"""What a production day brings: each scenario with its size. Load comes in, something fails, something heals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.chaos import broker, deaths, points, provider, receivers, stores
from tests.chaos.world import World
from worker.jobs.model import State

_ARCHIVED = frozenset({State.ARCHIVED})

#: What takes an hour and a half by default must show here.
_SOON = {"DEATHS_UNTIL_SET_ASIDE": "1"}


@dataclass(frozen=True)
class Scenario:
    """`play` gets the world and how hard to try: jobs, and seconds or repetitions of the fault."""

    play: Callable[[World, int, int], None]
    jobs: int
    rounds: int
    ends: frozenset[State] = _ARCHIVED
    seconds: float = 120  #: in which everything must have recovered
    calls_again: bool = False  #: whether Kling may have to: the database fails too, and a callback is answered 503
    more: Mapping[str, str] = field(default_factory=dict)  #: settings that it needs: it is played on a world of its own


SCENARIOS: dict[str, Scenario] = {
    "calm": Scenario(deaths.calm, 20, 0),
    "worker killed": Scenario(deaths.worker_killed, 60, 10),
    "web killed": Scenario(deaths.web_killed, 60, 8),
    "web child killed": Scenario(deaths.web_child_killed, 40, 6),
    "beat killed": Scenario(deaths.beat_killed, 20, 5),
    "SIGTERM to all": Scenario(deaths.terminated, 30, 2),
    "SIGTERM to all, twice": Scenario(deaths.terminated_twice, 30, 2),
    "SIGTERM to the first only": Scenario(deaths.terminated_one, 20, 2),
    "SIGINT": Scenario(deaths.interrupted, 20, 2),
    "killed at chosen points": Scenario(points.killed_at_points, 60, 1),
    "Redis down": Scenario(broker.redis_down, 30, 20),
    "Redis wiped": Scenario(broker.redis_wiped, 50, 8),
    "Redis restarted empty": Scenario(broker.redis_restarted, 30, 3),
    "Redis black-holed": Scenario(broker.redis_blackholed, 30, 20),
    "Redis full": Scenario(broker.redis_full, 20, 10),
    "Redis evicts": Scenario(broker.redis_evicts, 20, 10),
    "Redis out of connections": Scenario(broker.redis_crowded, 20, 10),
    "Redis connections killed": Scenario(broker.connections_killed, 40, 15),
    "PostgreSQL restarted": Scenario(stores.postgres_restarted, 40, 3, calls_again=True),
    "PostgreSQL connections killed": Scenario(stores.connections_killed, 40, 15, calls_again=True),
    "PostgreSQL slow": Scenario(stores.postgres_slow, 10, 10, calls_again=True),
    "PostgreSQL black-holed": Scenario(stores.postgres_blackholed, 20, 25, calls_again=True),
    "PostgreSQL refused": Scenario(stores.postgres_refused, 15, 8, calls_again=True),
    "PostgreSQL out of connections": Scenario(stores.postgres_crowded, 15, 8, calls_again=True),
    "bucket cut": Scenario(stores.bucket_cut, 30, 20),
    "bucket refuses": Scenario(stores.bucket_refuses, 30, 8),
    "creates ambiguous": Scenario(provider.creates_ambiguous, 30, 2, seconds=180),
    "Kling full": Scenario(provider.kling_full, 20, 30, seconds=180),
    "Kling answers HTML": Scenario(provider.kling_html, 20, 4),
    "queries fail": Scenario(provider.queries_fail, 20, 6),
    "Kling unreachable": Scenario(provider.kling_unreachable, 25, 5, seconds=180),
    "callbacks astray": Scenario(provider.callbacks_astray, 25, 0),
    "callbacks forged": Scenario(provider.callbacks_forged, 5, 3),
    "callbacks a hundredfold": Scenario(provider.callbacks_hundredfold, 4, 100),
    "receivers misbehave": Scenario(receivers.misbehaving, 20, 2),
    "messages thrice": Scenario(broker.messages_twice, 40, 4),
    "two versions": Scenario(deaths.two_versions, 30, 0),
    "poison messages": Scenario(broker.poison, 20, 0),
    "poison bytes": Scenario(broker.poison_bytes, 20, 5),
    "orders by message": Scenario(broker.orders_by_message, 20, 5, calls_again=True),
    "deploys": Scenario(deaths.deploys, 40, 3),
    "deadly work": Scenario(
        points.deadly_work, 10, 0, frozenset({State.ARCHIVED, State.FAILED, State.EXPIRED}), more=_SOON
    ),
}
