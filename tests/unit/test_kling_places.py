"""Outputs of a task, and the places that they keep."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.kling.answers import Output
from worker.kling.places import in_places


def output(ordinal: int, named: str | None, variant: str = "original") -> Output:
    """One video."""
    return Output("video", variant, ordinal, named, f"https://a.example/{named}", None)


@given(st.permutations("abcdef"), st.permutations("abcdef"), st.sets(st.sampled_from("abcdef")))
def test_an_output_keeps_its_place_in_whatever_order_it_is_named(
    before: list[str], after: list[str], stored: set[str]
) -> None:
    """P2: those that were stored are not stored again, and each of the others has a place that is free; a watermarked
    version goes where its original does.
    """
    known = {("video", name): place for place, name in enumerate(before) if name in stored}
    answer = [
        output(place, name, variant) for place, name in enumerate(after) for variant in ("original", "watermarked")
    ]
    placed = in_places(answer, known)

    assert [one.url for one in answer] == [one.url for one in placed]
    assert {(one.ordinal, one.variant) for one in answer} == {(one.ordinal, one.variant) for one in placed}
    by_name = {(one.id, one.variant): one.ordinal for one in placed}
    assert all(
        by_name[name, variant] == known["video", name] for name in stored for variant in ("original", "watermarked")
    )


def test_outputs_whose_ids_tell_nothing_stay_as_they_are() -> None:
    """Without an id, or with one for all, only their order says which is which."""
    for names in ((None, None), ("a", "a"), ("a", None)):
        answer = [output(place, name) for place, name in enumerate(names)]

        assert tuple(answer) == in_places(answer, {("video", "a"): 1})
