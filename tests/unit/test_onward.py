import pytest

from tests.fakes import FakeQueue
from worker import messages
from worker.jobs.machine import Step
from worker.tasks import onward
from worker.tasks.onward import Onward


def test_what_follows_is_done_here_and_the_rest_is_sent() -> None:
    """A step that this process may do is done after its task, in order; all else leaves at once, as a message."""
    queue, done = FakeQueue(), list[str]()
    mine = Onward(queue, {messages.ARCHIVE: lambda job: done.append(f"archive {job}"), messages.ANNOUNCE: done.append})
    sent = messages.after("job", Step.ARCHIVE, ["msg"], ["woken"])

    assert (3, []) == (messages.send(mine, sent), done)
    assert [(messages.SUBMIT, "submit", ("woken",))] == queue.sent

    mine.go()

    assert ["archive job", "msg"] == done


def test_a_task_that_took_long_sends_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows wants its whole slice of the time that a platform leaves: another process takes it then."""
    queue, done = FakeQueue(), list[str]()
    monkeypatch.setattr(onward, "monotonic", lambda: 100)
    late = Onward(queue, {messages.ARCHIVE: done.append}, seconds=2)
    monkeypatch.setattr(onward, "monotonic", lambda: 103)
    messages.send(late, messages.after("job", Step.ARCHIVE, (), ()))
    late.go()

    assert ([], [(messages.ARCHIVE, "archive", ("job",))]) == (done, queue.sent)
