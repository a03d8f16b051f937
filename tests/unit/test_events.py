import pytest

from worker.jobs import events
from worker.jobs.model import ENDS, State


@pytest.mark.parametrize("state", list(State))
def test_every_state_is_told_or_is_ours_alone(state: State) -> None:
    """What a receiver waits for has one outer name; the two steps of ours in between have none."""
    told = state in events.STATES

    assert (state in {State.SUBMITTING, State.COPYING}) != told
    assert not told or events.STATES[state].type == events.told_as(events.inner(state)) in events.TYPES


def test_each_end_has_a_name_of_its_own() -> None:
    """A receiver can tell the ends apart by type."""
    assert len(ENDS) == len({events.STATES[state].type for state in ENDS})


@pytest.mark.parametrize("kind", list(events.TYPES))
def test_a_type_is_heard_by_itself_its_group_and_the_star(kind: str) -> None:
    """Every type has three patterns, and each may be subscribed to."""
    group = kind.split(".", maxsplit=1)[0] + ".*"

    assert {"*", group, kind} == set(events.patterns(kind))
    assert [None] * 3 == [events.fault(pattern) for pattern in events.patterns(kind)]


@pytest.mark.parametrize("pattern", ["", "video", "video.", "video.**", "*.archived", "video.eaten", "Video.*", "a.*"])
def test_nobody_subscribes_to_nothing(pattern: str) -> None:
    """A pattern that would never hear anything is refused with the reason."""
    assert events.fault(pattern)
