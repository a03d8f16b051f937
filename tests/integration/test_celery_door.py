"""Another app on the broker asks for a job, and has its own task called when the job has ended."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, text

from infra.db import make_engine, single
from infra.settings import Settings
from infra.stack.process import wait_until
from tests.fakes import MORNING
from tests.house import TEXT, House
from worker import messages
from worker.jobs import retry
from worker.jobs.model import State
from worker.services import now
from worker.store.aside import Aside, Word
from worker.store.keys import Terms
from worker.store.tables import set_aside
from worker.store.tables_told import deliveries
from worker.tasks.request import Came, TooOften, give_up

DONE = {"task": "shop.video_done", "queue": "shop"}


def told(home: House) -> list[tuple[str, str, dict[str, Any]]]:
    """The tasks of the other app that were sent, taken off the queue."""
    for message in [message for message in home.queue.sent if message[0] == messages.ANNOUNCE]:
        home.run(message)
    sent = [message for message in home.queue.sent if message[0] == DONE["task"]]
    home.queue.sent[:] = [message for message in home.queue.sent if message not in sent]
    return [(task, queue, args[0]) for task, queue, args in sent]


def only_job(home: House) -> str:
    """The id of the one job there is."""
    (task,) = home.get("/v1/videos/omni-video").json()["data"]
    return str(task["task_id"])


def test_a_message_becomes_a_job_whose_end_is_told(home: House) -> None:
    """P3: the same job as over HTTP; its end calls the task that on_done names, once, with links that open."""
    heard: list[tuple[str, str, dict[str, Any]]] = []
    home.queue.elsewhere = lambda message: heard.append((message[0], message[1], message[2][0]))
    home.message(family="omni-video", request={**TEXT, "external_task_id": "order-7"}, on_done=DONE)
    job_id = only_job(home)

    assert [State.ARCHIVED] == home.until_end(job_id)
    ((task, queue, event),) = heard
    assert (DONE["task"], DONE["queue"], "video.archived") == (task, queue, event["type"])
    assert {"external_task_id": "order-7"} == event["data"]["task_info"]
    assert "X-Amz-Signature" in event["data"]["task_result"]["videos"][0]["url"]


def test_the_same_message_twice_is_one_job(home: House) -> None:
    """P4: with an external id a message may be sent again and again."""
    for _ in range(3):
        home.message(family="videos/omni-video", request={**TEXT, "external_task_id": "order-8"}, on_done=DONE)

    assert 1 == len(home.get("/v1/videos/omni-video").json()["data"])


def test_a_message_that_the_broker_delivers_twice_is_one_job(home: House) -> None:
    """P4: also without an external id: a message has an id of its own, and another message is another job."""
    for message in ("m1", "m1", "m2", "m1"):
        home.message(message=message, family="videos/omni-video", request=TEXT)

    assert 2 == len(home.get("/v1/videos/omni-video").json()["data"])


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"family": "videos/omni-video", "request": {"prompt": ""}}, 1201),
        ({"family": "videos/nothing", "request": {}}, 1203),
        ({"family": "videos/omni-video", "request": TEXT, "caller": "nobody"}, 1002),
        ({"family": "videos/omni-video", "request": TEXT, "account": "nobody"}, 1201),
        ({"family": "videos/omni-video", "request": TEXT, "check": "sometimes"}, 1201),
    ],
)
def test_a_refused_request_is_told_and_shown(home: House, message: dict[str, Any], code: int) -> None:
    """The asking app's task hears why, in Kling's codes; the message is set aside with the reason."""
    home.message(**message, on_done=DONE)
    ((_, _, event),) = told(home)

    assert ("video.refused", code) == (event["type"], event["data"]["code"])
    assert [event["data"]["message"]] == [one.reason for one in home.services.aside.newest(5)]


def test_a_refusal_is_told_though_its_message_was_lost(home: House) -> None:
    """P3: it stands in a row with what was set aside: a broker that is away, or the death of who took the message, is
    made up for by a sweep; and a message that is given twice is shown and told once, under one id.
    """
    home.queue.down = True
    for _ in range(2):
        home.message(message="m1", family="videos/omni-video", request={"prompt": "\0"}, on_done=DONE)
    home.queue.down = False
    assert [] == home.queue.sent
    for _ in range(2):
        home.sweep()
    ((_, _, event),) = told(home)

    assert "video.refused" == event["type"]
    assert [event["data"]["message"]] == [one.reason for one in home.services.aside.newest(5)]
    assert 0 == home.untold()


def waiting(engine: Engine) -> int:
    """How many statements wait for what somebody else has written."""
    with single(engine).connect() as connection:
        query = text("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
        return int(connection.execute(query).scalar_one())


@pytest.fixture
def roomy(settings: Settings) -> Iterator[Engine]:
    """An engine whose few connections wait for others for a while."""
    made = make_engine(settings, application="tests", connections=3, lock_seconds=60)
    yield made
    made.dispose()


def test_of_two_who_set_a_message_aside_at_once_one_does(roomy: Engine, engine: Engine) -> None:
    """P3: a broker gave it to both, and neither sees yet what the other one writes: it is shown and told once."""
    aside, word = Aside(roomy), Word("msg_1", "celery://shop/shop.video_done", "video.refused", "{}")
    put = partial(aside.put, messages.REQUEST, b"{}", "no", MORNING, word)
    assert (word.id,) == put()
    with roomy.connect() as holder:
        (told,) = holder.execute(delete(deliveries).returning(*deliveries.c)).all()
        holder.execute(delete(set_aside))
        holder.commit()
        holder.execute(insert(deliveries).values(**told._mapping))  # a third one, which will not get to its end
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(put) for _ in range(2)]
            assert wait_until(lambda: waiting(engine) == len(both), 60)
            holder.rollback()
            heard = sorted(one.result() for one in both)

    assert [(), (word.id,)] == heard
    assert ["no"] == [one.reason for one in aside.newest(5)]


@pytest.mark.parametrize(
    "message", [{"family": 7}, {"request": TEXT}, {"family": "omni-video", "request": TEXT, "x": 1}]
)
def test_a_message_that_is_not_understood_is_told(home: House, message: dict[str, Any]) -> None:
    """Whatever is wrong with it: where it says whom to tell, he is told."""
    home.message(**message, on_done=DONE)
    ((_, _, event),) = told(home)

    assert [event["data"]["message"]] == [one.reason for one in home.services.aside.newest(5)]


def test_a_message_that_is_given_up_is_told(home: House) -> None:
    """One that ended each process that took it, or failed for no reason of its sender's, has an answer, too."""
    came = Came((), {"request": {"external_task_id": "\ud800\0"}, "on_done": DONE}, "m1")
    give_up(came, "it ended its process 11 times", aside=home.services.aside, clock=home.clock)
    home.sweep()
    ((_, _, event),) = told(home)

    assert ("video.refused", 5000) == (event["type"], event["data"]["code"])
    assert {"external_task_id": "\ud800\0"} == event["data"]["task_info"]


@given(
    st.lists(st.integers(), max_size=2),
    st.dictionaries(
        st.sampled_from(["family", "request", "caller", "account", "check", "on_done", "x"]),
        st.none() | st.integers() | st.text(max_size=5) | st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
    ),
)
@hypothesis_settings(max_examples=40)
def test_no_message_is_lost_or_raises(home: House, args: list[int], kwargs: dict[str, Any]) -> None:
    """Whatever another app sends, it is a job or a row that says why not."""
    before = len(home.services.aside.newest(1000)) + len(home.get("/v1/videos/omni-video").json()["data"])
    home.message(*args, **kwargs)
    after = len(home.services.aside.newest(1000)) + len(home.get("/v1/videos/omni-video").json()["data"])

    assert before + 1 == after


def test_a_message_waits_for_its_key_s_turn(home: House) -> None:
    """A key's messages and requests are counted together; one over the limit is no job and not set aside, but comes
    again when the limit says, and is a job then, once.
    """
    home.clock.stop()  # or the limit fills up again while a busy machine is at it
    home.services.keys.create("few", now(), Terms(per_minute=2))
    order: dict[str, Any] = {"family": "videos/omni-video", "request": TEXT, "caller": "few", "on_done": DONE}
    for _ in range(2):
        home.message(**order)
    with pytest.raises(TooOften) as wait:
        home.message(message="m3", **order)

    assert 24 <= wait.value.seconds <= 36
    assert 2 == len(home.services.store.page("few", "videos/omni-video", limit=9, offset=0))
    home.clock.ahead += timedelta(seconds=30)
    for _ in range(2):
        home.message(message="m3", since=wait.value.since, **order)
        home.clock.ahead += timedelta(seconds=30)
    assert 3 == len(home.services.store.page("few", "videos/omni-video", limit=9, offset=0))
    assert ([], []) == (told(home), home.services.aside.newest(5))


def test_a_message_whose_turn_never_comes_is_told_and_shown(home: House) -> None:
    """After a day it is refused in Kling's code for a rate that is too high, told to who asked, and set aside."""
    home.clock.stop()  # as above
    home.services.keys.create("few", now(), Terms(per_minute=1))
    order: dict[str, Any] = {"family": "videos/omni-video", "request": TEXT, "caller": "few", "on_done": DONE}
    home.message(**order)
    home.message(since=home.clock() - timedelta(hours=retry.MESSAGE_HOURS, seconds=1), **order)
    ((_, _, event),) = told(home)

    assert ("video.refused", 1302) == (event["type"], event["data"]["code"])
    assert [event["data"]["message"]] == [one.reason for one in home.services.aside.newest(5)]
