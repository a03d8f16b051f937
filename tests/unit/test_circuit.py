from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import MORNING
from worker.jobs.circuit import OPENS_AFTER, SLOW, Circuit, Standing, least


def failed(times: int, rest: float = 0) -> Circuit:
    """A receiver after so many failures in a row."""
    circuit = Circuit(proven=True)
    for _ in range(times):
        circuit = circuit.failed(MORNING, rest)
    return circuit


@given(st.integers(1, 60), st.integers(0, 3600))
def test_a_dead_receiver_gets_one_attempt_at_a_time_and_rests(times: int, asked: float) -> None:
    """One attempt at a time from the first failure; from the fifth a rest, which never exceeds what is bearable."""
    circuit = failed(times, asked)

    assert 1 == circuit.side_by_side(8)
    assert (times >= OPENS_AFTER or asked > 0) == circuit.rests(MORNING)
    assert not circuit.rests(MORNING + timedelta(hours=1, minutes=1))
    assert not circuit.rests(MORNING + timedelta(seconds=max(asked, 1200)))


@given(st.integers(0, 60))
def test_one_success_heals(times: int) -> None:
    """What was taken quickly makes a receiver proven, whatever was before; what was taken slowly does not."""
    healed = failed(times).taken(0.1)

    assert (Standing.PROVEN, 4, False) == (healed.standing, healed.side_by_side(4), healed.rests(MORNING))
    assert (Standing.FAILING, 1) == (failed(times).taken(SLOW).standing, failed(times).taken(SLOW).side_by_side(4))


@given(st.integers(20, 500), st.data())
def test_failing_receivers_never_have_all_hands(count: int, data: st.DataObject) -> None:
    """Half of the hands are out of reach for those that fail, some for those that are new."""
    free = data.draw(st.integers(1, count))
    wanted = least(free, count)

    assert (wanted is Standing.FAILING) == (free > count // 2)
    assert Standing.PROVEN is least(1, count)
