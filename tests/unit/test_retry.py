from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import MORNING
from worker.jobs import retry


@given(st.integers(1, 100))
def test_a_schedule_ends_unless_it_is_endless(attempts: int) -> None:
    """After its last delay a schedule says None; an endless one repeats that delay."""
    schedule = (2, 5)
    ends = retry.after(schedule, attempts, MORNING)
    endless = retry.after(schedule, attempts, MORNING, endless=True)

    assert (ends is None) == (attempts > len(schedule))
    assert endless is not None
    assert timedelta(0) < endless - MORNING <= timedelta(seconds=5 * (1 + retry.JITTER))


@given(st.floats(0, 300_000), st.floats(0, 1000))
def test_polling_waits_for_the_expected_time_and_then_slows_down(elapsed: float, expected: float) -> None:
    """Before the expected time nobody asks; after it the gaps grow with the wait, up to five minutes."""
    now = MORNING + timedelta(seconds=elapsed)
    due = MORNING + timedelta(seconds=expected)
    at = retry.poll_again(MORNING, due, now)

    assert at == due if now < due else timedelta(seconds=2) <= at - now <= timedelta(seconds=300)


@given(st.floats(0, 200_000), st.floats(0, 100_000))
def test_a_message_waits_ever_longer_and_for_a_day(waited: float, wait: float) -> None:
    """Not before the limit allows, or once a minute; more rarely the longer it waits; after a day no more."""
    seconds = retry.ask_again(MORNING, MORNING + timedelta(seconds=waited), wait)

    assert (seconds is None) == (timedelta(seconds=waited) > timedelta(hours=retry.MESSAGE_HOURS))
    assert seconds is None or seconds <= retry.MESSAGE_LONGEST_PAUSE * (1 + retry.JITTER)
    assert seconds is None or seconds >= min(wait, retry.MESSAGE_LONGEST_PAUSE) * (1 - retry.JITTER)


@given(st.one_of(st.none(), st.text(), st.floats().map(str)))
def test_retry_after_is_capped_and_never_raises(value: str | None) -> None:
    """Whatever a receiver sends as Retry-After, the wait is between none and the cap."""
    assert 0 <= retry.retry_after(value) <= retry.LONGEST_RETRY_AFTER
    assert 0 <= retry.retry_after(value, MORNING) <= retry.LONGEST_RETRY_AFTER
    assert 0 <= retry.retry_after("Sat, 21 Nov 2026 09:02:00 GMT", retry.moment(value)) <= retry.LONGEST_RETRY_AFTER


def test_retry_after_may_be_a_date() -> None:
    """HTTP allows a date, too: what lies between it and now is waited for, within the cap."""
    said = {"Sat, 21 Nov 2026 09:02:00 GMT": 120, "Sat, 21 Nov 2026 08:00:00 GMT": 0, "Sun, 22 Nov 2026 09:00:00": 3600}

    assert list(said.values()) == [retry.retry_after(date, MORNING) for date in said]


@given(st.integers(0, 12), st.integers(0, 120))
def test_a_delivery_is_tried_for_about_three_days(tries: int, hours: int) -> None:
    """After each failure it is tried again, never before its receiver asked, until its schedule or 96 h are used up."""
    now = MORNING + timedelta(hours=hours)
    again = retry.deliver_again(tries, MORNING, now, 500)

    assert (tries > len(retry.DELIVER_AGAIN) or hours > retry.DELIVER_HOURS) == (again is None)
    assert again is None or again - now >= timedelta(seconds=500)


def test_the_schedule_is_the_specification_s() -> None:
    """Ten attempts over 75 hours."""
    assert (10, 75) == (1 + len(retry.DELIVER_AGAIN), sum(retry.DELIVER_AGAIN) // 3600)


@given(st.integers(1, 5000), st.integers(0, 120))
def test_a_broker_that_refuses_is_asked_for_four_days(tries: int, hours: int) -> None:
    """However often that was: at most some six minutes apart, until the event is too old to be told."""
    now = MORNING + timedelta(hours=hours)
    again = retry.send_again(tries, MORNING, now)

    assert (hours > retry.DELIVER_HOURS) == (again is None)
    assert again is None or timedelta(0) < again - now <= timedelta(minutes=6)
