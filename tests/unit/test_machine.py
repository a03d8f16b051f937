from hypothesis import given
from hypothesis import strategies as st

from worker.jobs.machine import DUE_STEP, TABLE, Event, Step, move
from worker.jobs.model import ENDS, State

#: How far along a job is. Deferring is the one way back: a create that surely left nothing behind.
RANK = {State.WAITING: -1, State.ACCEPTED: 0, State.SUBMITTING: 1, State.RUNNING: 2, State.COPYING: 3} | dict.fromkeys(
    ENDS, 4
)

#: Where a job's life begins.
BEGINNINGS = st.sampled_from([State.ACCEPTED, State.WAITING])


@given(st.sampled_from(State), st.sampled_from(Event))
def test_every_pair_of_state_and_event_has_an_answer(state: State, event: Event) -> None:
    """The machine is total: no pair raises, and what is not in the table changes nothing."""
    led = move(state, event)

    assert (led is None) == ((state, event) not in TABLE)


@given(st.sampled_from(sorted(ENDS)), st.lists(st.sampled_from(Event)))
def test_ends_absorb(end: State, events: list[Event]) -> None:
    """Nothing that happens later takes a job out of an end."""
    assert [None] * len(events) == [move(end, event) for event in events]


@given(BEGINNINGS, st.lists(st.sampled_from(Event), max_size=60))
def test_any_order_and_repetition_goes_forward_only(state: State, events: list[Event]) -> None:
    """Whatever happens, in whatever order, a job never goes back, but to be asked for again when nothing was made."""
    for event in events:
        led = move(state, event)
        if led is None:
            continue
        assert RANK[led.state] > RANK[state] or event is Event.SUBMIT_DEFERRED
        state = led.state


@given(BEGINNINGS, st.lists(st.sampled_from(Event), max_size=60))
def test_an_end_is_reached_once(state: State, events: list[Event]) -> None:
    """However often success or failure is reported, receivers are told of one end only."""
    told = 0
    for event in events:
        led = move(state, event)
        if led is not None:
            state = led.state
            told += led.step is Step.ANNOUNCE

    assert told == (state in ENDS)


def test_every_open_state_knows_its_work() -> None:
    """A job that is due in any state but an end has a task that takes it further."""
    assert set(State) - ENDS == set(DUE_STEP)


def test_every_state_can_be_reached() -> None:
    """No state is there for show."""
    assert set(State) == {led.state for led in TABLE.values()} | {State.WAITING}
