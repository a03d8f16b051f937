from tests.fakes import FakeQueue
from worker import messages
from worker.jobs.machine import Step
from worker.tasks.onward import Onward


def test_what_follows_is_done_here_and_the_rest_is_sent() -> None:
    """A step that this process may do is done after its task, in order; all else leaves at once, as a message."""
    queue, done = FakeQueue(), list[str]()
    mine = Onward(queue, {messages.ANNOUNCE: done.append})
    sent = messages.after("job", Step.ARCHIVE, ["msg", "another"], ["woken"])

    assert (4, []) == (messages.send(mine, sent), done)
    assert [(messages.ARCHIVE, ("job",)), (messages.SUBMIT, ("woken",))] == [
        (task, args) for task, _, args in queue.sent
    ]

    mine.go()

    assert ["msg", "another"] == done
