"""What the manifest says, and what it must not."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import MORNING, a_job
from worker.jobs.manifest import manifest


@given(
    st.sampled_from(["http", "https"]).flatmap(
        lambda word: st.tuples(*((st.sampled_from([c, c.upper()])) for c in word))
    )
)
def test_no_link_keeps_its_query(letters: tuple[str, ...]) -> None:
    """P8: a link's query is often its signature; it is left out however the scheme is written."""
    link = f"{''.join(letters)}://user:word@cdn.example/a.png?sig=SECRET"
    said = manifest(a_job(), {"image": link}, {"url": [link]}, [], MORNING, after={})

    assert (b"SECRET" in said, b"word@" in said) == (False, False)
    assert "cdn.example/a.png" in json.loads(said)["request"]["image"]


def test_half_an_emoji_keeps_no_manifest_from_being_written() -> None:
    """JSON allows a lone surrogate, in a request and in an answer: it comes out as it went in."""
    half = json.loads('"a \\ud83d b"')
    said = manifest(a_job(), {"prompt": half, half: 1}, {"message": half}, [], MORNING, after={})

    document = json.loads(said.decode())
    assert {"prompt": half, half: 1} == document["request"]
    assert {"message": half} == document["provider"]["answer"]
