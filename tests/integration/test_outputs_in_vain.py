"""Links that nobody knows, at hosts that say nothing, too little, or another thing each time: no film pays for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

import pytest
from sqlalchemy import Engine

from infra.settings import Settings
from tests.integration.archive_kit import ALL, Yard, behind, film, video, yard
from tests.integration.test_outputs_unknown import missing, other, told
from tests.origin import File, Origin, film_of, origin
from tests.proxy import FaultProxy
from tests.s3_gate import Gate
from worker import parts
from worker.jobs.model import State
from worker.ports import Http, Stream
from worker.tasks import unknown

FILM = film()


@dataclass
class Hasty:
    """HTTP that soon has enough of those who are known to be silent. Who speaks has the time that he always has: he may
    need it on a machine that is busy.
    """

    http: Http
    silent: set[int] = field(default_factory=set)  #: the ports
    asked: list[str] = field(default_factory=list)  #: the links, one by one

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str], *, seconds: float, slowest: float = 0) -> Iterator[Stream]:
        """As `Http` does."""
        self.asked.append(url)
        seconds = 0.3 if self.is_silent(url) else seconds
        with self.http.stream(url, headers, seconds=seconds, slowest=slowest) as stream:
            yield stream

    def is_silent(self, url: str) -> bool:
        """Whether nobody will answer there."""
        return any(f":{port}/" in url for port in self.silent)

    def of(self, *proxies: FaultProxy) -> list[int]:
        """How often each of them was asked for anything."""
        return [sum(f":{proxy.port}/" in url for url in self.asked) for proxy in proxies]


@pytest.fixture
def place(settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Yard, Origin]]:
    """A job of one film, and patience with strangers that ends soon."""
    monkeypatch.setattr(unknown, "OF_A_HOST", 0.2)
    with origin(film=File.of(FILM)) as served, yard(settings, engine, [video(served.link("film.mp4"))]) as made:
        yield made, served


def hasty(made: Yard, *silent: FaultProxy) -> Hasty:
    """Have these say nothing, and nobody wait for them."""
    for proxy in silent:
        proxy.stall()
    http = Hasty(made.copier.http, {proxy.port for proxy in silent})
    made.copier = made.restarted(http=cast("Any", http)).copier
    return http


def test_a_silent_host_is_asked_for_one_thing_only(place: tuple[Yard, Origin]) -> None:
    """P1: of twenty links to it the first is asked for, and once more; the others are told of unasked. What others
    have is stored.
    """
    made, served = place
    served.files["blob"] = File.of(b"\0\1\2" * 99)
    with FaultProxy("127.0.0.1", served.port) as proxy:
        http = hasty(made, proxy)
        made.provider.outputs += [other(served.link("blob", proxy.port), f"meshes[{n}].glb_url") for n in range(19)]
        made.provider.outputs.append(other(served.link("blob"), "mesh.glb_url"))
        assert State.ARCHIVED is made.until_end(4)

        assert [2] == http.of(proxy)
    assert ["video", "other"] == [file.kind for file in made.files]
    assert 19 == len(missing(made))
    assert [True] + [False] * 18 == ["was not asked" not in str(one["reason"]) for one in missing(made)]
    assert 1 == len(told(made))


def test_a_host_that_speaks_again_is_asked_for_all(place: tuple[Yard, Origin]) -> None:
    """P2: that it was silent for a while costs nothing of what it has."""
    made, served = place
    served.files["blob"] = File.of(b"\0\1\2" * 99)
    with FaultProxy("127.0.0.1", served.port) as proxy:
        http = hasty(made, proxy)
        made.provider.outputs += [other(served.link("blob", proxy.port), f"meshes[{n}].glb_url") for n in range(4)]
        assert State.COPYING is made.work()
        proxy.heal()
        http.silent.clear()
        made.clock.advance(100)

        assert State.ARCHIVED is made.work()
    assert ([], 5) == (missing(made), len(made.files))


def test_many_silent_hosts_are_not_waited_for_one_by_one(
    place: tuple[Yard, Origin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: once some of them have cost so much time together, no other one is asked."""
    made, served = place
    monkeypatch.setattr(unknown, "OF_ALL", 0.5)
    monkeypatch.setattr(unknown, "monotonic", count(step=0.3).__next__)  # so long each takes on a machine that is idle
    with ExitStack() as stack:
        proxies = [stack.enter_context(FaultProxy("127.0.0.1", served.port)) for _ in range(6)]
        http = hasty(made, *proxies)
        for number, proxy in enumerate(proxies):
            made.provider.outputs.append(other(served.link("blob", proxy.port), f"meshes[{number}].glb_url"))
        assert State.ARCHIVED is made.until_end(4)

        assert [2, 2, 0, 0, 0, 0] == http.of(*proxies)
    assert 6 == len(missing(made))


def test_what_nobody_knows_and_is_another_thing_each_time_costs_no_film(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1, P2, P7: too slow for a slice, and each slice has to begin it anew: the film is archived without it."""
    monkeypatch.setattr(parts, "LINGER", 0.2)
    blob = film_of(b"\0" * 64, 600_000)
    with (
        origin(film=File.of(FILM), blob=blob) as served,
        yard(settings, engine, [video(served.link("film.mp4"))], slice_seconds=0.0) as made,
        FaultProxy("127.0.0.1", served.port) as proxy,
    ):
        proxy.slow(250_000)
        made.provider.outputs.append(other(served.link("blob", proxy.port)))
        for number in range(20):
            blob.etag = f'"{number}"'
            if made.work() is not State.COPYING:
                break
            made.clock.advance(100_000)

        assert State.ARCHIVED is made.state
        assert ["videos[77].cover_url"] == [one["variant"] for one in missing(made)]
        assert (ALL, 0, 0) == made.left()


@pytest.mark.parametrize(("status", "code", "tasks"), [(400, "InvalidArgument", 1), (400, "RequestTimeout", 2)])
def test_what_nobody_knows_and_the_store_refuses_costs_no_film(
    place: tuple[Yard, Origin], settings: Settings, status: int, code: str, tasks: int
) -> None:
    """P1, P2, P7: what the store says of this one object, and not of the bucket, keeps nothing else from its end; it is
    sent once more where it may be taken then.
    """
    made, served = place
    served.files["blob"] = File.of(b"\0\1\2" * 99)
    made.provider.outputs.append(other(served.link("blob")))
    with Gate(str(settings.s3_endpoint_url)) as gate:
        gate.refuse("put", status, code, when=lambda headers: headers["Content-Type"] == "application/octet-stream")
        worker = behind(made, settings, gate.url)
        for _ in range(tasks - 1):
            assert State.COPYING is worker.work()
            made.clock.advance(100)

        assert State.ARCHIVED is worker.work()
    assert [True] == [code in str(one["reason"]) for one in missing(made)]
    assert (ALL, 0, 0) == made.left()


def test_what_the_store_refuses_costs_time_too(
    place: tuple[Yard, Origin], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: a store that takes a minute to refuse each of twenty such files keeps a film waiting for one of them."""
    made, served = place
    monkeypatch.setattr(unknown, "OF_A_HOST", 1e-9)
    served.files["blob"] = File.of(b"\0\1\2" * 99)
    made.provider.outputs += [other(served.link("blob"), f"meshes[{n}].glb_url") for n in range(2)]
    with Gate(str(settings.s3_endpoint_url)) as gate:
        gate.refuse(
            "put", 400, "InvalidArgument", when=lambda headers: headers["Content-Type"] == "application/octet-stream"
        )
        assert State.ARCHIVED is behind(made, settings, gate.url).work()
    reasons = [str(one["reason"]) for one in missing(made)]
    assert ["InvalidArgument", "was not asked"] == [
        next(word for word in ("InvalidArgument", "was not asked") if word in reason) for reason in reasons
    ]
