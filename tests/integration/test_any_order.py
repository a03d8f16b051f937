"""Whatever happens, in whatever order: jobs' lives as a state machine, on real rows and a clock that is told to go.

Kling answers what it likes and shows a task late; messages are lost, doubled and late; three processes whose clocks
differ by ten minutes stand still, wake up late or die between any two words that they have with the rows or with
Kling. P1 to P4 hold at every moment, and once nothing goes wrong any more every job ends.
"""

from __future__ import annotations

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine

from tests.conftest import emptied
from tests.integration.order_kit import LONGEST_UNSEEN, SPOILT, Process, World
from tests.unit.test_machine import RANK
from worker import messages
from worker.jobs.machine import Event
from worker.jobs.model import ENDS, State
from worker.store.chains import After
from worker.store.inbox import Arrival
from worker.store.repository import NewJob
from worker.tasks.adopt import call_up

NAMES = "abcde"
#: Which stand on which.
EDGES = (("a", "d"), ("b", "d"), ("d", "e"))
#: By so many seconds the clocks of the processes are wrong.
SKEWS = (0, -300, 300)
#: So many sweeps take every job to its end once nothing goes wrong any more.
ROUNDS = 150
#: How far a step goes before it stands still; most go to their end.
PASSES = st.sampled_from([None, None, 0, 1, 2, 3, 4])
PROCESSES = st.sampled_from(range(len(SKEWS)))


class Life(RuleBasedStateMachine):
    """Three jobs, two that stand on them, and everything that can happen to them."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.world = World(emptied(self.engine))
        self.kling, self.queue, self.clock = self.world.kling, self.world.queue, self.world.clock
        self.processes = [Process(self.world, skew) for skew in SKEWS]
        self.store = self.processes[0].store
        self.seen: dict[str, list[State]] = {}

    @initialize(unique=st.booleans(), slots=st.sampled_from([1, 2]))
    def accept(self, *, unique: bool, slots: int) -> None:
        """Three jobs for two slots, one that waits for two of them, and one that waits for that one."""
        self.kling.unique, self.kling.slots = unique, slots
        stands = {"a": (), "b": (), "c": (), "d": ("a", "b"), "e": ("d",)}
        for depth, (name, earlier) in zip((0, 0, 0, 1, 2), stands.items(), strict=True):
            after = After({one: one for one in earlier}, depth) if earlier else None
            new = NewJob(
                name, "default", "default", "videos/omni-video", None, "https://app/hook", b"f", b"{}", after=after
            )
            self.store.accept(new, self.clock())
            self.seen[name] = [State.WAITING if earlier else State.ACCEPTED]

    # --- Kling --------------------------------------------------------------------------------------------------
    @rule(how=st.sampled_from(SPOILT))
    def spoilt(self, how: str) -> None:
        """The next call goes wrong in this way."""
        self.kling.spoilt = how

    @rule(seconds=st.sampled_from([0, 20, 60, LONGEST_UNSEEN]))
    def hidden(self, seconds: int) -> None:
        """From now on Kling shows tasks only so long after it made them."""
        self.kling.unseen = seconds

    @rule(name=st.sampled_from(NAMES), status=st.sampled_from(["succeed", "failed"]))
    def ended_there(self, name: str, status: str) -> None:
        """Kling ends a task that it has."""
        if name in self.kling.open():
            self.kling.tasks[name].status = status

    @rule(name=st.sampled_from(NAMES), word=st.sampled_from(["processing", "succeed", "failed"]), skew=PROCESSES)
    def called_back(self, name: str, word: str, skew: int) -> None:
        """A callback comes: true or forged, before the create was answered, late or again."""
        at = self.processes[skew].time()
        self.world.inbox.put([Arrival(name, word.encode(), "understood", word, at, word != "processing")])
        messages.send(self.queue, [messages.Message(messages.FOLLOW_UP, "follow_up", (name,))])

    # --- processes ----------------------------------------------------------------------------------------------
    @rule(seconds=st.sampled_from([1, 5, 30, 120, 4000]))
    def waited(self, seconds: int) -> None:
        """Time passes, also for those who stand still."""
        self.clock.advance(seconds)

    @rule(who=PROCESSES)
    def swept(self, who: int) -> None:
        """Beat ticks, and a process that has nothing to do looks what is due."""
        if not self.processes[who].busy:
            self.processes[who].sweep()

    @precondition(lambda self: self.queue.sent)
    @rule(data=st.data(), fate=st.sampled_from(["once", "once", "lost", "kept"]), who=PROCESSES, passes=PASSES)
    def delivered(self, data: st.DataObject, fate: str, who: int, passes: int | None) -> None:
        """Any waiting message is worked on, or lost; one that is kept comes again, perhaps to another at once."""
        message = data.draw(st.sampled_from(self.queue.sent))
        if fate != "kept":
            self.queue.sent.remove(message)
        if fate != "lost" and not self.processes[who].busy:
            self.processes[who].work(message, passes)

    @precondition(lambda self: any(process.busy for process in self.processes))
    @rule(data=st.data(), passes=PASSES)
    def woken(self, data: st.DataObject, passes: int | None) -> None:
        """A process that stood still goes on, however late it is."""
        data.draw(st.sampled_from(self.standing)).go_on(passes)

    @precondition(lambda self: any(process.busy for process in self.processes))
    @rule(data=st.data())
    def killed(self, data: st.DataObject) -> None:
        """A process dies where it stands."""
        data.draw(st.sampled_from(self.standing)).kill()

    # --- people -------------------------------------------------------------------------------------------------
    @rule(name=st.sampled_from(NAMES))
    def cancelled(self, name: str) -> None:
        """Somebody asks for the end of a job that was not submitted."""
        job = self.store.get(name)
        assert job is not None
        if not job.submissions:
            self.store.move(job, Event.CANCEL_ASKED, self.clock())

    @rule(place=st.integers(0, len(NAMES)))
    def given_up(self, place: int) -> None:
        """What nobody could settle, or ended every process, is set aside, whatever Kling has of it."""
        asked = [name for name, state in self.world.states().items() if state is State.SUBMITTING]
        job = self.store.get(asked[place % len(asked)]) if asked else None
        if job:
            self.store.move(job, Event.SUBMIT_UNSETTLED, self.clock())

    @rule(name=st.sampled_from(NAMES), who=PROCESSES)
    def left_in_doubt(self, name: str, who: int) -> None:
        """A create arrives, nobody hears the answer, and nobody finds out: it is given up."""
        if not self.processes[who].busy:
            self.kling.spoilt = "lost"
            self.processes[who].work((messages.SUBMIT, "submit", (name,)))
            self.given_up(0)

    @rule()
    def called_up(self) -> None:
        """Somebody looks for callbacks that nobody has looked into."""
        call_up(store=self.store, queue=self.queue)

    @rule()
    def resumed(self) -> None:
        """Somebody says that the account is in order again."""
        self.world.accounts.resume("default", self.clock())

    # --- what always holds --------------------------------------------------------------------------------------
    @property
    def standing(self) -> list[Process]:
        """Those who stand still in the middle of a step."""
        return [process for process in self.processes if process.busy]

    @invariant()
    def all_holds(self) -> None:
        """P3 and P4, slots, and nothing is asked for before what it stands on is archived."""
        self._states()

    def _states(self) -> dict[str, State]:
        states = self.world.states()
        self._nothing_goes_back(states)
        for first, later in EDGES:
            if states and states[first] is not State.ARCHIVED:
                assert states[later] in {State.WAITING, State.FAILED, State.CANCELLED}
                assert later not in self.kling.tasks
        return states

    def _nothing_goes_back(self, states: dict[str, State]) -> None:
        """A job goes forward only, but for a create that was surely absent; an end is never left."""
        for name, state in states.items():
            seen = self.seen.setdefault(name, [State.RUNNING])
            if state is not seen[-1]:
                assert seen[-1] not in ENDS
                assert RANK[state] > RANK[seen[-1]] or state is State.ACCEPTED
                seen.append(state)

    def teardown(self) -> None:
        """P1: once nothing goes wrong any more, who stands still wakes up, every job ends, and what Kling made for one
        that was given up is fetched where a callback told of it.
        """
        self.kling.spoilt = None
        for process in self.standing:
            process.go_on()
        for number in range(ROUNDS):
            if {*self._states().values()} <= ENDS and not self.store.adoptions.strays(1):
                self._nothing_is_left()
                return
            call_up(store=self.store, queue=self.queue)
            for name in self.kling.open():
                self.kling.tasks[name].status = "succeed"
                if self.seen[name][-1] is State.UNKNOWN:  # others are found without a word
                    self.called_back(name, "succeed", 0)
            process = self.processes[number % len(SKEWS)]
            process.sweep()
            while self.queue.sent:
                process.work(self.queue.sent.pop(0))
            self.clock.advance(20 + 2 * number)
        raise AssertionError([self.store.get(name) for name in self.seen])

    def _nothing_is_left(self) -> None:
        for name, state in self.world.states().items():
            if state is State.UNKNOWN and name in self.kling.tasks and self.world.inbox.of(name):
                other = self.store.adoptions.by(name)
                assert other, "what a callback told of is fetched"
                assert (other.state is State.ARCHIVED) == (self.kling.tasks[name].status == "succeed")


def test_whatever_happens_in_whatever_order(migrated: Engine, request: pytest.FixtureRequest) -> None:
    """P1, P3, P4 over arbitrary orders, repetitions, losses, delays, deaths, clocks and processes that stand still."""
    machine = type("LifeOnRows", (Life,), {"engine": migrated})
    lives = request.config.getoption("lives")
    run_state_machine_as_test(
        machine, settings=hypothesis_settings(max_examples=lives, stateful_step_count=30, deadline=None)
    )
