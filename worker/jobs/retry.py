"""When something is tried again: schedules as data, decisions as values, time passed in."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

#: Seconds until a job that surely reached nobody is tried again; the last one repeats.
SUBMIT_AGAIN = (2, 5, 10, 20, 40, 60)
#: So often may a job have reached nobody before a person is told: with `SUBMIT_AGAIN` after some ten minutes.
DEFERRALS_UNTIL_TOLD = 15
#: Seconds for which it is put off at once, as Kling asks for it, if a person is to be told without more of them.
PUT_OFF_TOLD = 600
#: Weights of the waits between look-ups of a create whose answer was lost; the last repeats. Together they fill the
#: time after which it may count as absent. No weight is more than a third of the sum, as a clock that jumps forward
#: skips one wait.
LOOK_UP = (1, 2, 4, 8, 15, 30, 60, 60)
#: So many answers "no such task" in a row, the last at least `ABSENT_SECONDS` after the create left, prove absence:
#: at the provider's own pace, and never before its call would have timed out.
ABSENT_LOOKUPS = len(LOOK_UP)
ABSENT_SECONDS = 120
#: Seconds after the row said that a create may be sent within which its first byte must leave, connecting included. A
#: worker that was held up for longer does not send it, since others may be about to prove that it was never made.
FRESH_SECONDS = 15
#: Seconds until work is tried again that our own bucket failed, as it read an input or stored a file.
BUCKET_AGAIN = (15,)
#: A bucket that takes no files is tried again after a part of the time for which it has taken none, in seconds at
#: least and at most; and how long it may be before a person is told, where waiting may help.
BUCKET_PART, BUCKET_SHORTEST, BUCKET_LONGEST = 0.25, 2, 600
BUCKET_TOLD = 600
#: Seconds for which a file may be refused as if it came damaged before a person is told.
REFUSED_TOLD = 3600
#: Seconds by which the jobs that wait for it are later than the one that tries it.
BUCKET_SPREAD = 30
#: Seconds until another create leaves after so many were proven absent: one may have been lost on its way, more mean
#: that the provider has trouble. The last one repeats.
ABSENT_AGAIN = (0, 60, 300, 900)
#: After so many of them a person is told: some ten minutes.
ABSENCES_UNTIL_TOLD = 3
#: After so many of them, over `RUNNING_HOURS`, it is not asked for again.
ABSENCES = 10
#: Before another create is sent the provider is asked once more for the task of the earlier one. Seconds until that
#: question is repeated while it has no answer; the last repeats. `SILENCES` of them take `RUNNING_HOURS`.
LOOK_FIRST_AGAIN = (*SUBMIT_AGAIN, *(60,) * 9, 300, 900)
SILENCES = 240
#: Seconds until files that could not be copied or proven are tried again, with fresh links; in all more than a day.
#: Files that the server does not send are asked for at the last pace until `DELETED_DAYS`.
ARCHIVE_AGAIN = (2, 5, 15, 60, 300, 900, 3600, 10800, 21600, 21600, 21600, 21600)
#: The last so many of these attempts are for files that were sent and proved bad.
ARCHIVE_LAST = 3
#: After so many of these, within the hour, a person is told.
ARCHIVE_ALARM = 7
#: Seconds for which one is put off at once, as Kling or its server asks for it, if a person is to be told without more
#: of them: longer than any pause before those.
ARCHIVE_PUT_OFF_TOLD = 1200
#: Seconds between attempts of a delivery. Source: the Standard Webhooks specification's own schedule, about 75 hours.
DELIVER_AGAIN = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
#: The same for messages to other apps (`on_done`) while the broker is away: about each minute for an hour, then each
#: five minutes until `DELIVER_HOURS`.
BROKER_AGAIN = (2, 5, 15, *(60,) * 60, 300)
#: Seconds until a message that the broker has lost twice is sent again, four times as long after each further loss, and
#: the most that it gets to. Events older than `DELIVER_HOURS` are not sent again.
REPEAT_PAUSE = 15
REPEAT_LONGEST_PAUSE = 86400
#: Seconds until a delivery is begun again of which nothing left, as the database did not say what to tell.
DATABASE_AGAIN = 15
#: Hours after which a delivery is given up even if attempts are left, because its receiver was resting.
DELIVER_HOURS = 96
#: How often in a row a step may be begun and never reported on, because its process died each time.
DEATHS = 8
#: Seconds until such a step is begun again, doubled each time, and their upper bound. With `DEATHS` about an hour and
#: a half: a bad deploy that kills every worker is noticed before the jobs that it kills are given up.
DEATH_PAUSE = 20
DEATH_LONGEST_PAUSE = 3600
#: A `Retry-After` from outside counts up to this many seconds.
LONGEST_RETRY_AFTER = 3600
#: Hours for which a message whose API key is over its rate limit is tried again, and the most seconds between two
#: tries: a broker hands a message that one worker holds for long to another.
MESSAGE_HOURS = 24
MESSAGE_LONGEST_PAUSE = 60
#: So many answers "no such task" in a row, over so many hours, mean that the provider lost a task that it had; seconds
#: between them.
LOST_LOOKUPS = 6
LOST_HOURS = 3
LOST_AGAIN = (10, 60, 300, 1800, 3600)
#: Hours after which a job is given up: because its task is still `processing`, because nobody could say whether its
#: create made a task, or because none of its creates did.
RUNNING_HOURS = 72
#: Days after which the provider deletes a result. Whatever nobody could ask or fetch until then is lost. Source: spec
#: section 9.
DELETED_DAYS = 30
#: Seconds between questions for a task at most; and where the provider does not answer them.
POLL_LONGEST = 300
UNANSWERED_LONGEST = 900
#: By how much of itself a delay is varied at random, so that jobs that failed together don't come back together.
JITTER = 0.2


def after(schedule: tuple[int, ...], attempts: int, now: datetime, *, endless: bool = False) -> datetime | None:
    """When to try again after `attempts` failures; None when the schedule is used up and not `endless`."""
    if attempts > len(schedule) and not endless:
        return None
    seconds = schedule[min(max(attempts, 1), len(schedule)) - 1]
    return now + timedelta(seconds=vary(seconds))


def look_up(lookups: int, now: datetime, absent_after: timedelta) -> datetime:
    """When to look a create up that so many look-ups have not found."""
    part = LOOK_UP[min(lookups, len(LOOK_UP) - 1)] / sum(LOOK_UP)
    return now + timedelta(seconds=vary(absent_after.total_seconds() * part))


def bucket_again(since: datetime, now: datetime) -> datetime:
    """When a bucket is tried again that has taken no files since then."""
    seconds = BUCKET_PART * (now - since).total_seconds()
    return now + timedelta(seconds=vary(min(max(BUCKET_SHORTEST, seconds), BUCKET_LONGEST)))


def deliver_again(tries: int, begun_at: datetime, now: datetime, wait: float) -> datetime | None:
    """When a delivery is tried again, not before `wait` seconds; None when it is given up."""
    again = after(DELIVER_AGAIN, tries, now)
    if again is None or now - begun_at > timedelta(hours=DELIVER_HOURS):
        return None
    return max(again, now + timedelta(seconds=wait))


def send_again(tries: int, begun_at: datetime, now: datetime) -> datetime | None:
    """When a message is sent again that the broker did not take; None when it is given up."""
    return after(BROKER_AGAIN, tries, now, endless=True) if now - begun_at <= timedelta(hours=DELIVER_HOURS) else None


def ask_again(since: datetime, now: datetime, wait: float) -> float | None:
    """Seconds until a message is tried again whose API key must wait for another `wait` seconds; None: give it up.

    The longer it has waited, the longer the pause: many more may be waiting with it.
    """
    waited = (now - since).total_seconds()
    if waited > timedelta(hours=MESSAGE_HOURS).total_seconds():
        return None
    return vary(min(max(wait, waited * 0.15), MESSAGE_LONGEST_PAUSE))


def not_before(due: datetime, now: datetime, wait: float) -> datetime:
    """`due`, or later where somebody asks not to be asked for `wait` seconds, and has said so to others, too."""
    spread = random.uniform(1, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
    return max(due, now + timedelta(seconds=wait * spread))


def is_never_made(absences: int, since: datetime, now: datetime) -> bool:
    """Whether to stop sending creates: `absences` of them, the first at `since`, were proven to have made no task."""
    return absences >= ABSENCES and now - since > timedelta(hours=RUNNING_HOURS)


def questions_of(wait: float) -> int:
    """As how many of `SILENCES` a question counts after which nothing may be asked for `wait` seconds: it takes the
    place of those that would have been asked meanwhile.
    """
    return 1 + int(wait // LOOK_FIRST_AGAIN[-1])


def is_silent(questions: int, since: datetime, now: datetime) -> bool:
    """Whether to stop asking for the task of an earlier create: so many questions in a row had no answer."""
    return questions >= SILENCES and now - since > timedelta(hours=RUNNING_HOURS)


def is_lost(lookups: int, since: datetime, now: datetime) -> bool:
    """Whether the provider has lost a task: it has said so many times since then that it has no such task."""
    return lookups >= LOST_LOOKUPS and now - since >= timedelta(hours=LOST_HOURS)


def is_deleted(since: datetime, now: datetime) -> bool:
    """Whether the provider has deleted the results of a task that it had taken then."""
    return now - since >= timedelta(days=DELETED_DAYS)


def poll_again(since: datetime, expected: datetime | None, now: datetime, longest: float = POLL_LONGEST) -> datetime:
    """When to ask again for a task that is still being worked on: not before it is expected, then ever more rarely."""
    if expected and now < expected:
        return expected
    elapsed = (now - since).total_seconds()
    return now + timedelta(seconds=min(max(2.0, elapsed * 0.15), longest))


def vary(seconds: float) -> float:
    """`seconds`, give or take `JITTER`."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing


def retry_after(value: str | None, now: datetime | None = None) -> float:
    """Seconds that a `Retry-After` header asks for, capped; 0 where it says nothing usable.

    A date in it is understood where `now` is given.
    """
    try:
        seconds = float(value or 0)
    except ValueError:
        until = moment(value) if now else None
        seconds = (until - now).total_seconds() if until and now else 0
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else 0


def moment(date: str | None) -> datetime | None:
    """What a header such as `Date` says; None where that is no date."""
    try:
        said = parsedate_to_datetime(date or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return said if said.tzinfo else said.replace(tzinfo=UTC)
