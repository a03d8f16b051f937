"""Callbacks, and the fates that a prompt can script."""

import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from infra.emulator import Config, Emulator, app, callbacks, workers
from tests.integration.emulator_kit import (
    TEXT,
    Client,
    Neighbour,
    until,
)

#: Seconds between the two ends of a task that are far enough apart for whatever a test does between them.
APART = 3600


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator gives no callback up, and sends none again, because this machine is slow to take it."""
    monkeypatch.setattr(callbacks, "_TIMEOUT_SECONDS", 60)


def test_callbacks_tell_of_every_change(client: Client, neighbour: Neighbour) -> None:
    """Without a fate, processing and the end are told once each, in the flat legacy shape."""
    task = client.finish(TEXT, prompt="a fox", callback_url=f"{neighbour.url}/x", external_task_id="told")
    until(lambda: len(neighbour.received) == 2)
    last = next(body for _, _, body in neighbour.received if body["task_status"] == "succeed")

    assert Counter(["processing", "succeed"]) == Counter(neighbour.statuses("/x"))
    assert {"application/json; charset=utf-8"} == set(neighbour.types)
    assert {"external_task_id": "told"} == last["task_info"]
    assert task == last
    assert not {"code", "message", "request_id", "data"} & set(last)


def test_a_callback_tells_of_images_that_are_no_series(client: Client, neighbour: Neighbour) -> None:
    """What says beside a result's lists which of them counts is told as it is."""
    task = client.finish("/v1/images/omni-image", prompt="a fox", callback_url=neighbour.url)
    until(lambda: "succeed" in neighbour.statuses())
    last = next(body for _, _, body in neighbour.received if body["task_status"] == "succeed")

    assert "single" == task["task_result"]["result_type"]
    assert task["task_result"] == last["task_result"]


def test_a_callback_is_tried_three_times(client: Client, neighbour: Neighbour) -> None:
    """What is not answered 2xx is sent again, three times at most, and every try is in the report."""
    neighbour.answers += [500, 302, 404] * 2
    task_id = client.create(TEXT, prompt="a fox", callback_url=neighbour.url)

    def tries() -> list[int]:
        return [row["http_status"] for row in client.state()["callbacks"] if row["task_id"] == task_id]

    until(lambda: len(tries()) == 6)

    assert Counter({500: 2, 302: 2, 404: 2}) == Counter(tries())
    assert Counter(processing=3, succeed=3) == Counter(neighbour.statuses())


def test_fate_fail(client: Client) -> None:
    """`fail` fails the task as Kling's risk control does."""
    task = client.finish(TEXT, prompt="a fox [fate: fail]")

    assert ("failed", "Failure to pass the risk control system") == (task["task_status"], task["task_status_msg"])


def test_fate_no_callback(client: Client, neighbour: Neighbour) -> None:
    """`no_callback` keeps silent, while another task at the same time is told of."""
    client.finish(TEXT, prompt="a fox [fate: no_callback, fast]", callback_url=f"{neighbour.url}/silent")
    client.finish(TEXT, prompt="a fox", callback_url=f"{neighbour.url}/told")
    until(lambda: "succeed" in neighbour.statuses("/told"))

    assert [] == neighbour.statuses("/silent")


def test_fate_callback_twice(client: Client, neighbour: Neighbour) -> None:
    """`callback_twice` sends each callback twice, at the same time."""
    both = threading.Barrier(2)
    neighbour.on_callback = lambda _: (both.wait(), None)[1]
    client.create(TEXT, prompt="a fox [fate: callback_twice]", callback_url=neighbour.url)
    until(lambda: len(neighbour.received) == 4)

    assert Counter(processing=2, succeed=2) == Counter(neighbour.statuses())


def test_fate_callback_late(client: Client, neighbour: Neighbour, monkeypatch: pytest.MonkeyPatch) -> None:
    """`callback_late` leaves time between the end as queried and the end as told."""
    late = f"a fox [fate: fast, callback_late={APART}]"
    client.finish(TEXT, prompt=late, callback_url=f"{neighbour.url}/late")
    client.finish(TEXT, prompt="a fox", callback_url=f"{neighbour.url}/other")
    until(lambda: "succeed" in neighbour.statuses("/other"))
    assert "succeed" not in neighbour.statuses("/late")

    monkeypatch.setattr(workers, "time", SimpleNamespace(time=lambda: time.time() + APART))
    client.create(TEXT, prompt="a fox", callback_url=f"{neighbour.url}/third")  # so it looks
    until(lambda: "succeed" in neighbour.statuses("/late"))


def test_fate_callback_early(client: Client, neighbour: Neighbour, monkeypatch: pytest.MonkeyPatch) -> None:
    """`callback_early` tells of the end while queries still say processing."""
    early = f"a fox [fate: callback_early={APART}]"
    task_id = client.create(TEXT, prompt=early, callback_url=neighbour.url)
    until(lambda: "succeed" in neighbour.statuses())

    assert "submitted" in neighbour.statuses()
    assert "processing" == client.task(TEXT, task_id)["task_status"]
    monkeypatch.setattr(app, "time", SimpleNamespace(time=lambda: time.time() + APART))
    assert "succeed" == client.task(TEXT, task_id)["task_status"]


def test_fate_callback_before_reply(client: Client, neighbour: Neighbour) -> None:
    """`callback_before_reply` has told of the task before the create reply arrives."""
    task_id = client.create(TEXT, prompt="a fox [fate: callback_before_reply]", callback_url=neighbour.url)

    assert (task_id, "submitted") in [(body["task_id"], body["task_status"]) for _, _, body in neighbour.received]


def test_fates_of_time() -> None:
    """`slow` multiplies a task's time: an ordinary one that is begun after it has long ended before it."""
    with Emulator(Config(speed=100, log=False)) as running:
        client = Client(running)
        slow = client.create(TEXT, prompt="a fox [fate: slow=1000]")
        client.finish(TEXT, prompt="a fox")
        status = client.task(TEXT, slow)["task_status"]
        client.session.close()

    assert status in {"submitted", "processing"}


def test_a_fate_without_time() -> None:
    """`fast` ends a task at once whatever the speed: here an ordinary one takes days."""
    with Emulator(Config(speed=0.001, log=False)) as running:
        client = Client(running)
        ordinary = client.create(TEXT, prompt="a fox")
        fast = client.finish(TEXT, prompt="a fox [fate: fast]")
        status = client.task(TEXT, ordinary)["task_status"]
        client.session.close()

    assert "succeed" == fast["task_status"]
    assert status in {"submitted", "processing"}


def test_an_unknown_fate_is_refused(client: Client) -> None:
    """A typing error in a fate does not go by unseen."""
    answer = client.post(TEXT, prompt="a fox [fate: explode]")

    assert (400, 1201) == (answer.status_code, answer.json()["code"])
    assert "callback_twice" in answer.json()["message"]
