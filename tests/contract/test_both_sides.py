"""Our evaluation and the emulator state the same reference twice: a request that parts them is a bug of one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from infra.emulator import Config, Emulator, rules
from infra.emulator.config import Edition
from infra.emulator.families import FAMILIES as EMULATED
from infra.emulator.wire import Refusal
from tests.contract.bodies import CHARACTERS, GOOD, Body, asked, neighbours
from tests.integration.emulator_kit import Client
from worker.kling.catalog import FAMILIES
from worker.kling.evaluate import Verdict, evaluate

EDITIONS = tuple(Edition)
KINDS = dict.fromkeys(CHARACTERS, "video")


def ours(family: str, body: Body, edition: str, *, strict: bool = False) -> Verdict:
    """What we say of a request."""
    return evaluate(family, body, edition=edition, strict=strict, elements=KINDS)


def theirs(family: str, body: Body, edition: Edition, *, strict: bool = False) -> str:
    """What the emulator says against it, without a socket; empty where it accepts."""
    ask = rules.parse(EMULATED[family], json.dumps(body).encode(), CHARACTERS)
    try:
        rules.check(ask, edition, strict=strict)
    except Refusal as refusal:
        assert 1201 == refusal.code  # noqa: PT017 - an acceptance is as good
        return refusal.message
    return ""


def parting(family: str, body: Body, edition: Edition, *, strict: bool = False) -> dict[str, Any]:
    """The request and both opinions of it if they differ."""
    verdict, complaint = ours(family, body, edition, strict=strict), theirs(family, body, edition, strict=strict)
    if verdict.accepted == (not complaint):
        return {}
    said = [fault.message for fault in verdict.faults]
    return {"family": family, "edition": str(edition), "body": body, "ours": said, "emulator": complaint}


def test_both_sides_know_the_same_families() -> None:
    """Every family of ours has a good body here, and the emulator plays it, with our models in our order of default."""
    rows = {path: (row.models, row.mode) for path, row in FAMILIES.items()}
    played = {path: (EMULATED[path].models, EMULATED[path].mode) for path in rows}
    sorted_models = {path: (sorted(models), mode) for path, (models, mode) in rows.items()}

    assert set(GOOD) == set(rows)
    assert sorted_models == {path: (sorted(models), mode) for path, (models, mode) in played.items()}
    assert {path: models[:1] for path, (models, _) in rows.items()} == {
        path: (EMULATED[path].model,) if EMULATED[path].model else () for path in rows
    }


@pytest.mark.parametrize("family", sorted(GOOD))
def test_good_bodies_are_good_on_both_sides(family: str) -> None:
    """The bodies that everything else is made from pass, in all editions, strict or not."""
    judged = [
        (ours(family, body, edition, strict=strict).accepted, theirs(family, body, edition, strict=strict))
        for body in GOOD[family]
        for edition in EDITIONS
        for strict in (False, True)
        # Shots beside a first frame: the one edition says no.
        if not (edition is Edition.MARCH and body.get("multi_shot") and "image_list" in body)
    ]

    assert {(True, "")} == set(judged)


@pytest.mark.parametrize("family", sorted(GOOD))
def test_both_sides_agree_at_every_single_boundary(family: str) -> None:
    """With every one field absent, empty, of a wrong type, at its limits and beyond, in all editions."""
    found = [
        difference
        for body in neighbours(family)
        for edition in EDITIONS
        for strict in (False, True)
        if (difference := parting(family, body, edition, strict=strict))
    ]

    assert [] == found


@settings(max_examples=1500)
@given(asked(), st.sampled_from(EDITIONS), st.booleans())
def test_both_sides_agree_where_boundaries_meet(request: tuple[str, Body], edition: Edition, strict: bool) -> None:  # noqa: FBT001 - drawn, not passed
    """With up to four fields at their boundaries at once, in each edition, strict or not."""
    family, body = request

    assert {} == parting(family, body, edition, strict=strict)


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[Edition, Client]]:
    """A client of an emulator of each edition, which knows the same video characters as we do."""
    with ExitStack() as stack:
        made = {}
        for edition in EDITIONS:
            config = Config(edition=edition, concurrency=100_000, speed=1e6, log=False)
            client = Client(stack.enter_context(Emulator(config)))
            stack.enter_context(client.session)
            answer = client.session.post(f"{client.emulator.url}/_emulator/characters", json=sorted(CHARACTERS))
            assert {"characters": len(CHARACTERS)} == answer.json()
            made[edition] = client
        yield made


@settings(max_examples=40)
@given(asked(), st.sampled_from(EDITIONS))
@example(("videos/omni-video", {"prompt": "a cat", "aspect_ratio": "16:9", "mode": "4k"}), Edition.JUNE)
@example(("videos/omni-video", GOOD["videos/omni-video"][3]), Edition.MARCH)
@example(("videos/omni-video", GOOD["videos/omni-video"][3]), Edition.JUNE)
def test_both_sides_agree_over_http(
    clients: dict[Edition, Client], request: tuple[str, Body], edition: Edition
) -> None:
    """The same over a socket: 200 and a task where we accept, 400 and 1201 where we refuse."""
    family, body = request
    # Whether a video was made in this account is no question of the body.
    assume("video_id" not in json.dumps(body))
    answer = clients[edition].post(f"/v1/{family}", **body)
    expected = (200, 0) if ours(family, body, edition).accepted else (400, 1201)

    assert expected == (answer.status_code, answer.json()["code"]), (family, body, answer.text)
