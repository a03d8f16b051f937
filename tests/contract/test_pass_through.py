"""The synchronous routes: those that the door passes through are those that the emulator answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.emulator import Config, Emulator
from infra.emulator.families import FAMILIES as EMULATED
from infra.emulator.services import SERVICES
from tests.integration.emulator_kit import Client
from worker.kling.catalog import FAMILIES, PASS_THROUGH, Route


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A client of an emulator."""
    with Emulator(Config(log=False)) as emulator:
        one = Client(emulator)
        with one.session:
            yield one


def test_the_routes_are_the_emulator_s() -> None:
    """Its synchronous ones, and the families of its that are none of ours: parts for other tasks."""
    made = {
        (method, path)
        for family in EMULATED.keys() - FAMILIES.keys()
        for method, path in (("POST", family), ("GET", family), ("GET", f"{family}/{{id}}"))
    }

    assert {(service.method, path) for path, service in SERVICES.items()} | made == {
        (route.method, route.path) for route in PASS_THROUGH
    }


@pytest.mark.parametrize("route", PASS_THROUGH, ids=lambda route: f"{route.method} {route.path}")
def test_each_route_is_there_for_its_method_only(client: Client, route: Route) -> None:
    """The emulator knows the path and method; of another method it says that it is wrong, without a key nothing."""
    path = (route.path if route.path.startswith("/") else f"/v1/{route.path}").replace("{id}", "1")
    url = client.emulator.url + path
    known = client.session.request(route.method, url, json={} if route.method == "POST" else None)
    wrong = client.session.put(url, json={})
    client.session.headers["Authorization"], kept = "", client.session.headers["Authorization"]
    unsigned = client.session.request(route.method, url)
    client.session.headers["Authorization"] = kept

    assert known.json()["code"] in ({0, 1201, 1203} if "{id}" in route.path else {0, 1201})
    assert (404, 1202) == (wrong.status_code, wrong.json()["code"])
    assert (401, 1001) == (unsigned.status_code, unsigned.json()["code"])


def test_no_route_is_a_family() -> None:
    """What passes through is no job: no path of it creates, lists or shows one."""
    shown = [f"{family}/{{id}}" for family in FAMILIES]

    assert not [route for route in PASS_THROUGH if route.path in FAMILIES or route.path in shown]


@given(st.sampled_from(PASS_THROUGH), st.text(st.characters(blacklist_characters="/"), min_size=1))
def test_a_path_fits_its_own_route(route: Route, anything: str) -> None:
    """With any id in its place, and with a slash at the end; not with a part more or less."""
    path = route.path.replace("{id}", anything)

    assert route.fits(path)
    assert route.fits(f"{path}/")
    assert not route.fits(f"{path}/{anything}")
    assert not route.fits(path.rpartition("/")[0])
