from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import a_file
from worker.jobs.chain import overall
from worker.jobs.model import ENDS, State
from worker.jobs.references import BadReference, Reference, names, parse, pick, unfit

NAMES = st.text(min_size=1, max_size=80).filter(lambda text: text.isprintable())
PARTS = st.sampled_from(["files/0", "files/12", "poster", "video_id", "audio_id"])


@given(NAMES, PARTS)
def test_every_name_of_a_job_can_be_written(name: str, part: str) -> None:
    """Percent-encoded, whatever a caller calls a job comes through: slashes, spaces, marks."""
    read = parse(f"reelhook://{quote(name, safe='')}/{part}")

    assert (name, part.partition("/")[0]) == (read.name, read.part)


@given(st.text(max_size=60) | st.text(max_size=40).map("reelhook://".__add__))
def test_any_text_is_a_reference_or_the_one_error(text: str) -> None:
    """No text raises anything else."""
    try:
        read = parse(text)
    except BadReference:
        return

    assert read.name


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_any_after_is_names_or_the_one_error(after: object) -> None:
    """Whatever JSON value `after` is."""
    try:
        read = names(after)
    except BadReference:
        return

    assert len(set(read)) == len(read)


@pytest.mark.parametrize(
    ("part", "wanted", "made", "outputs", "says"),
    [
        ("files/0", "image", "image", 1, None),
        ("files/3", "image", "image", 4, None),
        ("files/4", "image", "image", 4, "the job makes 4"),
        ("files/0", "video", "image", 1, "the field takes video"),
        ("files/0", "video_id", "video", 1, "the field takes video_id"),
        ("files/1", "video", "video", 1, "the job makes 1"),
        ("poster", "image", "video", 1, None),
        ("poster", "image", "image", 1, "has no poster"),
        ("video_id", "video_id", "video", 1, None),
        ("video_id", "video_id", "audio", 1, "has no video_id"),
        ("audio_id", "audio_id", "audio", 1, None),
        ("audio_id", "image", "audio", 1, "the field takes image"),
    ],
)
def test_a_part_fits_where_its_kind_is_wanted(
    part: str, wanted: str, made: str, outputs: int, says: str | None
) -> None:
    """An image where an image is wanted, an id where an id is; and only outputs that there may be."""
    reason = unfit(parse(f"reelhook://job/{part}"), wanted=wanted, made=made, outputs=outputs)

    assert reason is None if says is None else says in str(reason)


@given(st.lists(st.sampled_from(State), min_size=1, max_size=8))
def test_a_chain_is_archived_when_all_of_it_is(states: list[State]) -> None:
    """It has one state, that of one of its jobs: an end that went wrong before anything that is still open."""
    whole = overall(states)

    assert whole in states
    assert (whole is State.ARCHIVED) == (set(states) == {State.ARCHIVED})
    assert (whole in ENDS) == (set(states) <= ENDS or bool(set(states) & (ENDS - {State.ARCHIVED})))


def test_a_reference_without_its_parts_says_the_forms() -> None:
    """The error names what may stand there."""
    with pytest.raises(BadReference, match="files/N, poster, video_id or audio_id"):
        parse("reelhook://job")

    assert Reference("job", "files", 0) == parse("reelhook://job/files/0")


def test_a_part_is_of_the_kind_that_its_job_makes() -> None:
    """Sound for a film comes with that film beside it, and perhaps with what nobody knows: neither is the sound."""
    files = [
        a_file(kind="other", variant="audios[7].score_url", key="k/other.bin"),
        a_file(key="k/video-0.mp4", provider_id="film"),
        a_file(kind="audio", variant="wav", key="k/audio-0-wav.wav", provider_id="sound"),
        a_file(kind="audio", variant="mp3", key="k/audio-0-mp3.mp3", provider_id="sound"),
    ]

    for part, value in (("files/0", "k/audio-0-mp3.mp3"), ("audio_id", "sound")):
        picked = pick(parse(f"reelhook://job/{part}"), files, "audio")
        assert picked is not None
        assert value == picked[0]
