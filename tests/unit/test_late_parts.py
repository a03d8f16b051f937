"""A part that arrives long after its worker was given up changes no film, at a store that takes it even then."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from time import monotonic
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from infra.store_errors import StoreError, UploadGone
from tests.fakes import a_job
from tests.unit.late_parts_kit import LEAST, LONGEST, OUTPUT, SPOOLED, Dead, Late, Row, Store, Way, Web
from worker import parts, source
from worker.copier import Copier
from worker.sent import SliceOver
from worker.source import Unproven


@dataclass(frozen=True)
class Life:
    """One worker: how it finds the source, how it ends, and when the parts arrive that it left on their way."""

    fast: bool = True  #: whether it makes its parts as long as they get
    piece: int = 7
    brings: float = inf
    hangs: bool = False
    slow: bool = False  #: whether its slice is over as soon as anything has come
    changed: bool = False  #: whether it finds another version of the file
    dies: int = 10**9
    both: bool = False
    unheard: bool = False
    odd: bool = False  #: whether it ends by what nobody foresaw, where its source breaks off
    keeps: bool = False  #: whether it fails to end uploads
    arrive: int = 0  #: after how many more workers


lives = st.builds(
    Life,
    fast=st.booleans(),
    piece=st.integers(1, 30),
    brings=st.one_of(st.just(inf), st.integers(0, 12)),
    hangs=st.booleans(),
    slow=st.booleans(),
    changed=st.sampled_from([False, False, False, True]),
    dies=st.one_of(st.integers(1, 4), st.just(10**9)),
    both=st.booleans(),
    unheard=st.booleans(),
    odd=st.booleans(),
    keeps=st.booleans(),
    arrive=st.integers(0, 5),
)
#: Later than any worker.
NEVER = 99


@example(size=100, spooled=SPOOLED, gone=[Life(dies=1, both=True, arrive=NEVER)])  # two of those that lie on the disk
@example(size=200, spooled=0, gone=[Life(dies=2, both=True, arrive=NEVER), Life(fast=False, slow=True)])
@example(size=200, spooled=0, gone=[Life(dies=2, arrive=NEVER), Life(brings=1), Life(fast=False)])
@example(size=200, spooled=0, gone=[Life(fast=False, dies=2, both=True, unheard=True, arrive=NEVER)])
@example(size=200, spooled=0, gone=[Life(dies=1, arrive=NEVER), Life(changed=True, fast=False, brings=0)])
@example(size=200, spooled=0, gone=[Life(dies=2, arrive=NEVER), Life(brings=0, odd=True, keeps=True), Life(fast=False)])
@example(  # the source breaks off in the part after the one of which nothing is heard
    size=200,
    spooled=0,
    gone=[Life(fast=False, brings=2, dies=1, both=True, unheard=True, arrive=NEVER)],
)
@given(
    size=st.integers(SPOOLED // 4, 2 * SPOOLED), spooled=st.sampled_from([0, SPOOLED]), gone=st.lists(lives, max_size=4)
)
@settings(max_examples=100)
def test_no_part_that_arrives_late_changes_a_film(size: int, spooled: int, gone: list[Life]) -> None:
    """P2: workers die, are cut, hear nothing of a part, find their source slow, broken off, or another one; the parts
    that they left on their way arrive at any time, also after the last one has stored the film. It is that film.
    """
    with pytest.MonkeyPatch.context() as patch, capture_logs():  # to print what nobody foresaw takes long
        in_tiny_parts(patch, spooled)
        lived(patch, size, [*gone, Life()])


def in_tiny_parts(patch: pytest.MonkeyPatch, spooled: int) -> None:
    """Have files of some bytes go in parts."""
    patch.setattr(parts, "PART_BYTES", LEAST)
    patch.setattr(parts, "LONGEST_PART", LONGEST)
    patch.setattr(parts, "LINGER", 0.0)
    patch.setattr(parts, "_LOOK", 0.001)
    patch.setattr(source, "HELD_BYTES", 0)
    patch.setattr(source, "HEAD_BYTES", 4)
    patch.setattr(source, "SPOOLED_BYTES", spooled)


def lived(patch: pytest.MonkeyPatch, size: int, all_lives: list[Life]) -> None:
    """Those lives, one after the other; the last one stores the film."""
    store, row, films = Store(), Row(), [film_of(1, size)]
    on_their_way: list[tuple[int, Late]] = []
    for number, life in enumerate(all_lives):
        if life.changed:
            films.append(film_of(len(films) + 1, size))
        patch.setattr(parts, "_PART_SECONDS", 10**9 if life.fast else 0)
        way = Way(store, life.dies, life.both, life.unheard, life.keeps)
        web = Web(films[-1], f'"{len(films)}"', life.piece, life.brings, life.hangs, life.odd)
        with suppress(Dead, StoreError, Unproven, SliceOver):
            copied(way, row, web, slow=life.slow)
            stored = store.body(row_key(store))  # it may have been whole before its source changed
            arrived(store, [(0, part) for _, part in on_their_way], number)
            assert stored in films
            assert stored == store.body(row_key(store))
            return
        on_their_way += [(number + life.arrive, part) for part in way.late]
        on_their_way = arrived(store, on_their_way, number)
    raise AssertionError("the last one has not stored it")


def film_of(version: int, size: int) -> bytes:
    """A version of the film."""
    return bytes((at * 31 + version * 7) % 251 for at in range(size))


def arrived(store: Store, on_their_way: list[tuple[int, Late]], now: int) -> list[tuple[int, Late]]:
    """What is still on its way after all that is due by now has arrived."""
    for due, part in on_their_way:
        if due <= now:
            with suppress(UploadGone):
                store.take(part)
    return [(due, part) for due, part in on_their_way if due > now]


def row_key(store: Store) -> str:
    """The key of the one film."""
    (key,) = store.objects
    return key


def copied(way: Way, row: Row, web: Web, *, slow: bool) -> None:
    """One worker's slice."""
    copier = Copier(cast("Any", web), cast("Any", way), "{job}/{name}.{extension}", largest=10**9)
    until = 0.0 if slow else monotonic() + 3600
    copier.copy(a_job(provider_task_id="1"), OUTPUT, row.at, cast("Any", row), lambda *_: None, until=until)


def test_a_row_that_says_nothing_of_what_is_on_its_way_is_not_gone_on_with() -> None:
    """A version before wrote it: the file gets an upload of its own, and the old one is ended."""
    with pytest.MonkeyPatch.context() as patch:
        in_tiny_parts(patch, 0)
        store, row, file = Store(), Row(), bytes(range(100))
        way, web = Way(store, 3, False, False), Web(file, '"1"', 7, inf, False)
        with pytest.raises(Dead):
            copied(way, row, web, slow=False)
        assert row.at is not None
        assert 2 == len(row.at.etags)
        row.at = replace(row.at, intended=None)
        copied(Way(store, 99, False, False), row, web, slow=False)

        assert ({"upload-0"}, file) == (store.ended, store.body(row_key(store)))


def test_a_worker_whose_source_is_slow_goes_on_with_the_long_part_of_one_whose_was_fast() -> None:
    """P1: others may have sent a part that is too long for memory. Its length stays, and still no slice brings nothing:
    what came of it is put aside, whether it comes in one slice or in many.
    """
    with pytest.MonkeyPatch.context() as patch:
        in_tiny_parts(patch, 0)
        patch.setattr(parts, "_PART_SECONDS", 10**9)
        store, row, file, come = Store(), Row(), bytes(range(200)), []
        slow = Web(file, '"1"', 15, 1, hangs=True, seconds=60)
        way = Way(store, 2, both=True, unheard=False)
        with pytest.raises(Dead):
            copied(way, row, Web(file, '"1"', 7, inf, hangs=False), slow=False)
        patch.setattr(parts, "_PART_SECONDS", 0)
        while row.at is not None and not row.at.whole:
            come.append((row.at.come, row.at.intended))
            with suppress(SliceOver):
                copied(Way(store, 99, both=False, unheard=False), row, slow, slow=True)
        copied(Way(store, 99, both=False, unheard=False), row, slow, slow=True)
        arrived(store, [(0, part) for part in way.late], 0)

        assert [(8, (40, 40)), (23, (40, 40)), (38, (40, 40)), (48, (40,)), (63, (40,)), (78, (40,))] == come[:6]
        assert file == store.body(row_key(store))


@pytest.mark.parametrize("fault", ["refuses", "breaks", "is_mute"])
@pytest.mark.parametrize("dies", [2, 99])
def test_a_store_that_takes_no_long_parts_any_more_gets_short_ones(dies: int, fault: str) -> None:
    """P1: a long part may be on its way, or not, when what stands before the store begins to refuse it, or breaks off,
    or says nothing: each slice has brought a short part all the same, or the file gets an upload of its own, once.
    """
    with pytest.MonkeyPatch.context() as patch:
        in_tiny_parts(patch, 0)
        patch.setattr(parts, "_PART_SECONDS", 10**9)
        store, row, web = Store(), Row(), Web(bytes(range(200)), '"1"', 3, inf, hangs=False)
        first, breaks, is_mute = Way(store, dies, both=False, unheard=False), fault == "breaks", fault == "is_mute"
        if dies < 99:
            with pytest.raises(Dead):
                copied(first, row, web, slow=False)
        for _ in range(200 // LEAST + 1):
            with suppress(StoreError):
                way = Way(store, 99, both=False, unheard=False, most=20, breaks=breaks, is_mute=is_mute)
                copied(way, row, web, slow=False)
        arrived(store, [(0, part) for part in first.late], 0)

        assert 1 + (dies < 99 or fault == "is_mute") == len(store.uploads)
        assert web.file == store.body(row_key(store))
