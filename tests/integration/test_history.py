"""A subscription that comes late, or was away, is told what it never got."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from sqlalchemy import select, update

from tests.house import House
from tests.receiver import Receiver, receiver
from tests.standard import verified
from worker.jobs.model import State
from worker.services import now
from worker.store.tables import deliveries, events

SINCE = "2020-01-01T00:00:00Z"


@pytest.fixture
def late() -> Iterator[Receiver]:
    """An app that subscribes when all is over."""
    with receiver() as listening:
        yield listening


def ask(home: House, path: str, body: Any = None, key: str | None = None) -> requests.Response:
    """POST to the door."""
    headers = {"Authorization": f"Bearer {key or home.key}"}
    return requests.post(f"{home.url}/api/subscriptions{path}", json=body, headers=headers, timeout=30)


def subscribed(home: House, app: Receiver, *types: str) -> dict[str, Any]:
    """A new subscription of an app."""
    made: dict[str, Any] = ask(home, "", {"url": app.url, "types": list(types) or ["*"]}).json()
    return made


def replayed(home: House, made: dict[str, Any], **body: Any) -> tuple[int, str | None]:
    """How many events are sent now, and where the next part begins. A house's clock may be ahead: hence `until`."""
    answer = ask(home, f"/{made['id']}/replay", {"since": SINCE, "until": "2090-01-01T00:00:00Z", **body})
    assert answer.status_code == 202, answer.text
    return answer.json()["replayed"], answer.json()["next"]


def heard(app: Receiver) -> list[tuple[str, str, int]]:
    """Job, type and place of what came, in order."""
    return [(body["data"]["task_id"], body["type"], body["data"]["sequence"]) for body in app.bodies]


def work(home: House) -> None:
    """Tell what is to be told."""
    home.sweep()
    home.drain()


def lives(home: House) -> list[str]:
    """Jobs that ended in different ways, one of them put off on its way: that it is accepted again is no news."""
    home.fault("create", "status_429_1303")
    jobs = [home.submit(), home.submit(prompt="a cat [fate: fail]"), home.submit()]
    requests.post(f"{home.url}/api/jobs/{jobs[2]}/cancel", headers=home.headers, timeout=10)
    assert [State.ARCHIVED, State.FAILED, State.CANCELLED] == home.until_end(*jobs, hurry=5)
    return jobs


def test_who_comes_late_hears_what_others_heard(home: House, app: Receiver, late: Receiver) -> None:
    """P3: after a replay it has heard the same events of each job, in the same order, signed with its own key and each
    once, however often it is asked for; of another key's jobs it hears nothing.
    """
    subscribed(home, app)
    jobs = lives(home)
    other = {"Authorization": f"Bearer {home.services.keys.create('other', now())}"}
    theirs = requests.post(f"{home.url}/v1/videos/text2video", json={"prompt": "a cat"}, headers=other, timeout=10)
    assert theirs.status_code == 200
    made = subscribed(home, late)
    told = [replayed(home, made) for _ in range(2)]
    work(home)

    assert [(len(heard(app)), None), (0, None)] == told
    for job in jobs:
        assert [one for one in heard(app) if one[0] == job] == [one for one in heard(late) if one[0] == job]
    at = home.clock().timestamp()  # by how much it is ahead hangs on how long Kling took
    assert all(verified(*one, made["secret"], at) for one in zip(late.headers, late.raw, strict=True))


def test_a_replay_goes_on_where_it_stopped(home: House, late: Receiver) -> None:
    """Two at a time, each `next` leads on; jobs and their events come in the order in which they happened."""
    lives(home)
    made = subscribed(home, late, "video.*")
    after: str | None = "0"
    counts = []
    while after is not None:
        count, after = replayed(home, made, limit=2, after=after)
        counts.append(count)
        work(home)

    with home.services.engine.connect() as connection:
        order = connection.execute(select(events.c.job_id, events.c.sequence).order_by(events.c.id)).all()
    told = [(job, sequence) for job, _, sequence in heard(late)]
    assert 3 * 2 < sum(counts) == len(told), "each of three jobs was submitted and has ended"
    assert [2] * (len(counts) - 1) == counts[:-1]
    assert [place for place in map(tuple, order) if place in told] == told


def test_only_what_was_asked_for_is_told(home: House, late: Receiver) -> None:
    """Types narrow it down, and so does the time."""
    lives(home)
    made = subscribed(home, late)

    assert (0, None) == replayed(home, made, until=SINCE)
    assert (0, None) == replayed(home, made, since="2090-01-01T00:00:00Z", until="2091-01-01T00:00:00Z")
    assert (2, None) == replayed(home, made, types=["video.failed", "video.cancelled"])
    work(home)
    assert {"video.failed", "video.cancelled"} == {kind for _, kind, _ in heard(late)}


def test_what_was_given_up_is_begun_anew_and_nothing_else(home: House, late: Receiver) -> None:
    """What it has taken stays taken; while it is disabled its events are kept, and sent when it is enabled."""
    made = subscribed(home, late)
    (job, *_) = lives(home)
    before = heard(late)
    lost = select(deliveries.c.id).where(deliveries.c.job_id == job).order_by(deliveries.c.sequence).limit(1)
    with home.services.engine.begin() as connection:
        connection.execute(update(deliveries).where(deliveries.c.id.in_(lost)).values(state="given_up"))
    ask(home, f"/{made['id']}/disable")
    assert (1, None) == replayed(home, made)
    work(home)
    assert before == heard(late)
    assert 1 == ask(home, f"/{made['id']}/enable").json()["sent_now"]
    work(home)

    again = before.index(min((one for one in before if one[0] == job), key=lambda one: one[2]))
    assert [*before, before[again]] == heard(late)
    assert late.headers[again]["webhook-id"] == late.headers[-1]["webhook-id"]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"since": "yesterday"}, {"since": "2026-11-21T09:00:00"}, {"since": SINCE, "types": ["nothing"]},
        {"since": SINCE, "after": "x"}, {"since": SINCE, "limit": 0}, {"since": SINCE, "limit": 1001},
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(home: House, late: Receiver, body: dict[str, Any]) -> None:
    """400 with the field, its rule and what would mend it; another key's subscription is 404."""
    made = subscribed(home, late)
    answer = ask(home, f"/{made['id']}/replay", body)

    assert (400, True) == (answer.status_code, bool(answer.json()["errors"][0]["fix"]))
    other = home.services.keys.create("other", now())
    assert 404 == ask(home, f"/{made['id']}/replay", {"since": SINCE}, other).status_code
