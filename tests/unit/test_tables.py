import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.boxes import NotMedia
from infra.media import look_at_film, probe, probe_film
from infra.tables import check_tables
from tests.integration.archive_kit import film

FILM = film()


def box(name: bytes, *content: bytes) -> bytes:
    """A box."""
    body = b"".join(content)
    return struct.pack(">I", len(body) + 8) + name + body


def table(name: bytes, *numbers: int) -> bytes:
    """A box that says its version and flags, then these numbers."""
    return box(name, bytes(4), struct.pack(f">{len(numbers)}I", *numbers))


def track(*tables: bytes, kind: bytes = b"vide") -> bytes:
    """A file with one track of these tables."""
    handler = box(b"hdlr", bytes(8), kind, bytes(13))
    moov = box(b"moov", box(b"trak", box(b"mdia", handler, box(b"minf", box(b"stbl", *tables)))))
    return box(b"ftyp", b"isom\0\0\2\0") + moov + box(b"mdat", bytes(64))


MANY = 60_000_000


@pytest.mark.parametrize(
    "body",
    [
        track(table(b"stsz", 1, MANY)),
        track(table(b"stsz", 1, MANY), table(b"stts", 1, MANY, 1)),
        track(table(b"stts", 1, MANY, 10)),
        track(table(b"ctts", 2, 1, 1, MANY, 10)),
        track(table(b"stsc", 1, 1, MANY, 1), table(b"stco", 1, 100), table(b"stsz", 1, 9)),
        track(table(b"stsc", 1, 1, MANY, 1), table(b"stco", 1, 100), table(b"stts", 1, 9, 1), kind=b"soun"),
        track(table(b"stsz", 0, MANY)),
        track(table(b"stco", MANY)),
        track(table(b"elst", MANY)),
        box(b"ftyp", b"isom\0\0\2\0") + box(b"moov", box(b"cmov")),
        FILM + box(b"moof", box(b"traf", table(b"trun", MANY))),
        FILM + box(b"moof", *[box(b"traf", table(b"trun", 90_000))] * 9),
        FILM + box(b"moov") * 200_001,
        FILM[:40] + box(b"moov", *[box(b"trak", table(b"stts", 1, 800_000, 9))] * 2, bytes(2_000_000)),
    ],
    ids=lambda body: str(len(body)),
)
def test_an_index_of_more_than_there_is_room_for_is_refused(body: bytes) -> None:
    """A few bytes may name millions of samples, each of which the library would make room for."""
    with pytest.raises(NotMedia, match=r"index|more boxes"):
        check_tables(BytesIO(body))


def test_such_an_index_is_refused_before_anything_is_opened() -> None:
    """Whichever way a film is looked at."""
    body = track(table(b"stsz", 1, MANY), table(b"stts", 1, MANY, 1))
    for look in (probe, probe_film, look_at_film):
        with pytest.raises(NotMedia, match="more samples than are read"):
            look(BytesIO(body))


def test_plain_sound_has_a_sample_for_each_moment() -> None:
    """Half a minute of it is more than a million, of which the library names a thousand at once."""
    plain = track(
        table(b"stsz", 4, 1_400_000), table(b"stts", 1, 1_400_000, 1), table(b"stsc", 1, 1, 1_400_000, 1),
        table(b"stco", 1, 400), bytes(1_400_000 * 4), kind=b"soun",
    )  # fmt: skip
    check_tables(BytesIO(plain))


@given(st.integers(0, len(FILM) - 1), st.binary(min_size=1, max_size=64))
def test_whatever_an_index_says_it_is_read_or_refused(at: int, noise: bytes) -> None:
    """Damage anywhere ends in the one documented error, or in none."""
    try:
        check_tables(BytesIO(FILM[:at] + noise + FILM[at + len(noise) :]))
    except NotMedia:
        return
