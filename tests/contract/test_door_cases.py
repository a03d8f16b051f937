"""Kling's cases over HTTP against our own door, in each edition that they name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from sqlalchemy import Engine

from infra.emulator import Config, Emulator
from infra.stack.servers import Servers
from tests.conftest import emptied
from tests.contract.test_cases import CREATES, expanded, family_of
from tests.house import OMNI, TEXT, House, house
from worker.kling.editions import EDITIONS


@pytest.fixture(scope="module")
def doors(servers: Servers, migrated: Engine) -> Iterator[dict[str, House]]:
    """A door for each edition; nobody works behind them."""
    one = {"SECRET_KEY": "the-doors-share-their-rows-and-so-their-key", "REELHOOK_API_KEY": "rk_shared-by-three-doors"}
    rows = emptied(migrated)  # a key's limits are among them, and all doors have one key
    with ExitStack() as stack:
        emulator = stack.enter_context(Emulator(Config(log=False)))
        opened = {
            edition: house(servers.addresses, rows, emulator, KLING_EDITION=edition, **one) for edition in EDITIONS
        }
        yield {edition: stack.enter_context(door) for edition, door in opened.items()}


#: Only somebody who looked the elements up knows their kinds: the door leaves that to Kling.
DOOR_CREATES = [param for param in CREATES if not (param.values[0].get("context") or {}).get("elements")]  # type: ignore[union-attr]  # pytest's own type is wider


@pytest.mark.parametrize(("case", "edition"), DOOR_CREATES)
def test_a_case_is_answered_as_kling_would(doors: dict[str, House], case: dict[str, Any], edition: str) -> None:
    """HTTP status and code of a create are the case's; a case of tolerance is asked the way it names."""
    door = doors[edition]
    headers = {**door.headers, "Reelhook-Check": "strict" if case.get("tolerance") == "strict" else "lenient"}
    url = f"{door.url}/v1/{family_of(case)}"
    answer = requests.post(url, json=expanded(case["body"]), headers=headers, timeout=100)

    assert (case["http"], case["code"]) == (answer.status_code, answer.json()["code"]), answer.text


@pytest.mark.parametrize(
    ("query", "http", "code"),
    [("pageNum=0&pageSize=30", 400, 1201), ("pageNum=1&pageSize=500", 200, 0), ("pageNum=1&pageSize=501", 400, 1201)],
)
def test_pages_are_limited_as_kling_s(doors: dict[str, House], query: str, http: int, code: int) -> None:
    """K192 to K194."""
    answer = doors[EDITIONS[0]].get(f"{OMNI}?{query}")

    assert (http, code) == (answer.status_code, answer.json()["code"])


def test_the_rest_of_the_table_is_answered_as_kling_would(doors: dict[str, House]) -> None:
    """K195: the caller's own id in the path; K197: no Authorization; K200: a wrong verb."""
    door = doors[EDITIONS[0]]
    door.submit(external_task_id="case-K195")
    own = door.get(f"{OMNI}/case-K195")
    bare = requests.post(door.url + OMNI, json=TEXT, timeout=100)
    put = requests.put(door.url + OMNI, json=TEXT, headers=door.headers, timeout=100)

    assert [(200, 0), (401, 1001), (404, 1202)] == [(one.status_code, one.json()["code"]) for one in (own, bare, put)]
