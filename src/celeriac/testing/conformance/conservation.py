"""A plain model of where messages are, and random histories that hold a driver to it step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import cast

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from celeriac.exceptions import Fenced
from celeriac.message import PRIORITY_STEPS, Claim, Depth, Fate, Message, Outcome
from celeriac.ports import Broker
from celeriac.testing.conformance.rig import Opened, message, name_of

#: Long enough that neither an eta nor a lease of a history ends while it runs.
LATER = 3600.0


class Conserving(Opened):
    """Whatever happens, each message is in exactly one place."""

    def test_whatever_happens_each_message_is_in_exactly_one_place(
        self, open_broker: Callable[[], Broker]
    ) -> None:
        keeps_every_message_in_one_place(open_broker, time.time())


def keeps_every_message_in_one_place(
    open_broker: Callable[[], Broker], now: float, histories: int = 40, steps: int = 25
) -> None:
    """Run random histories; a step after which store and model differ fails, told with its history.

    All histories run in one store, each with queues and owners of its own names.
    """
    numbers = count()
    run_state_machine_as_test(
        # It takes any function that gives a machine, whatever its annotation says.
        cast(type[History], lambda: History(open_broker(), f"case {next(numbers)}", now + LATER)),
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            # The history as it was: making it shorter takes longer than reading it.
            phases=[Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


class Tracked(msgspec.Struct):
    """A message as the model knows it."""

    message: Message
    deliveries: int = 0
    begun: bool = False
    #: The name of its dead letter, where that is not the message's own.
    letter: str = ""


class Shelves(msgspec.Struct):
    """The places of one queue."""

    ready: dict[int, list[Tracked]] = msgspec.field(default_factory=lambda: {s: [] for s in PRIORITY_STEPS})
    delayed: list[Tracked] = []
    dead: list[Tracked] = []

    def in_order(self) -> list[Tracked]:
        return [tracked for step in self.ready.values() for tracked in step]


fates = st.lists(st.sampled_from([None, *Fate]), min_size=3, max_size=6)
which_queue = st.integers(0, 1)
which_owner = st.integers(0, 1)


class History(RuleBasedStateMachine):
    """Two owners and two queues, and everything that can happen to messages between them."""

    def __init__(self, broker: Broker, case: str, later: float) -> None:
        super().__init__()
        self.broker = broker
        self.later = later
        self.case = case
        self.names = (f"{case}/{n}" for n in count())
        self.queues = [f"{case} queue {n}" for n in range(2)]
        self.shelves = {queue: Shelves() for queue in self.queues}
        self.owners: list[str] = []
        self.held: dict[str, dict[int, Tracked]] = {}
        self.gone: list[str] = []
        broker.consume(self.queues)
        for _ in range(2):
            self.owners.append(self.enlist())

    def enlist(self) -> str:
        owner = self.name_owner()
        self.broker.enlist(owner, f"{self.case} node", LATER)
        return owner

    def name_owner(self) -> str:
        owner = next(self.names)
        self.held[owner] = {}
        return owner

    def message(self, queue: int, priority: int = 0, delayed: bool = False) -> Message:
        name = next(self.names)
        eta = self.later if delayed else None
        return message(name, self.queues[queue], priority, eta)

    @initialize(priorities=st.lists(st.sampled_from((0, 0, 0, 3)), min_size=9, max_size=12))
    def begin_with_work(self, priorities: list[int]) -> None:
        """Most of what can go wrong needs an owner with several claims."""
        self.publish(0, priorities, False)
        self.publish(1, priorities, False)
        for owner in range(2):
            self.turn(owner, [], 7, False)

    @rule(
        queue=which_queue,
        priorities=st.lists(st.sampled_from((0, 1, 3, 9)), min_size=1, max_size=4),
        delayed=st.booleans(),
    )
    def publish(self, queue: int, priorities: list[int], delayed: bool) -> None:
        messages = [self.message(queue, priority, delayed) for priority in priorities]
        self.broker.publish(messages)
        self.sent(messages)

    @rule(owner=which_owner, fates=fates, want=st.integers(0, 5), follow_up=st.booleans())
    def turn(self, owner: int, fates: list[Fate | None], want: int, follow_up: bool) -> None:
        name = self.owners[owner]
        outcomes = self.outcomes(name, fates, follow_up)
        claims = self.broker.turn(name, outcomes, want)
        self.settled(name, outcomes)
        self.claimed(name, claims, want)

    @rule(owner=which_owner, want=st.integers(0, 2))
    def settle_what_is_not_held(self, owner: int, want: int) -> None:
        name = self.owners[owner]
        unheld = max(self.held[name], default=0) + 1000
        stray = [
            Outcome(unheld, fate, follow_ups=(self.message(0),), eta=self.later, id=next(self.names))
            for fate in Fate
        ]
        self.claimed(name, self.broker.turn(name, stray, want), want)

    @rule(owner=which_owner)
    def adopt(self, owner: int) -> None:
        old, new = self.owners[owner], self.name_owner()
        claims = self.broker.adopt(old, new, f"{self.case} node")
        assert [
            (number, tracked.message.id, tracked.deliveries, tracked.begun)
            for number, tracked in sorted(self.held[old].items())
        ] == [(claim.number, name_of(claim.payload), claim.deliveries, claim.begun) for claim in claims]
        if claims:
            self.held[new] = self.held.pop(old)
            self.owners[owner] = new
        else:
            self.broker.dismiss(new)
            self.owners[owner] = self.enlist()
        self.gone.append(old)

    @rule(owner=which_owner)
    def dismiss(self, owner: int) -> None:
        name = self.owners[owner]
        # As in `outcomes`, for the sake of the replay.
        high = [n for n, tracked in self.held[name].items() if tracked.begun and tracked.message.priority > 1]
        done = [Outcome(number) for number in high]
        self.broker.turn(name, done, 0)
        self.settled(name, done)
        self.broker.dismiss(name)
        held = sorted(self.held.pop(name).items())
        self.give_back([(number, tracked) for number, tracked in held if not tracked.begun])
        for number, tracked in held:
            if tracked.begun:
                tracked.letter = f"{name}:{number}"
                self.shelves[tracked.message.queue].dead.append(tracked)
        self.gone.append(name)
        self.owners[owner] = self.enlist()

    @rule(want=st.integers(0, 2))
    def hear_of_the_gone(self, want: int) -> None:
        for name in self.gone[-2:]:
            outcomes = [Outcome(number, follow_ups=(self.message(0),)) for number in range(1, 4)]
            with pytest.raises(Fenced):
                self.broker.turn(name, outcomes, want)

    @rule(queue=which_queue)
    def purge(self, queue: int) -> None:
        name = self.queues[queue]
        old = self.shelves[name]
        assert self.broker.purge(name) == len(old.in_order()) + len(old.delayed)
        self.shelves[name] = Shelves(dead=old.dead)

    @rule(queue=which_queue)
    def replay(self, queue: int) -> None:
        shelves = self.shelves[self.queues[queue]]
        dead, shelves.dead = shelves.dead[:1], shelves.dead[1:]
        assert self.broker.replay([tracked.letter or tracked.message.id for tracked in dead]) == len(dead)
        for tracked in dead:
            shelves.ready[0].append(Tracked(tracked.message))

    @invariant()
    def every_message_is_counted_in_its_place(self) -> None:
        claimed = [tracked.message.queue for held in self.held.values() for tracked in held.values()]
        assert self.broker.depth(self.queues) == {
            queue: Depth(
                len(shelves.in_order()), len(shelves.delayed), claimed.count(queue), len(shelves.dead)
            )
            for queue, shelves in self.shelves.items()
        }

    @invariant()
    def what_waits_is_in_order(self) -> None:
        for queue, shelves in self.shelves.items():
            expected = [tracked.message.id for tracked in shelves.in_order()]
            assert [name_of(payload) for payload in self.broker.peek(queue, 1000)] == expected

    def teardown(self) -> None:
        for owner in self.owners:
            self.broker.dismiss(owner)
        for queue in self.queues:
            self.broker.purge(queue)
        self.broker.close()

    def outcomes(self, owner: str, fates: Sequence[Fate | None], follow_up: bool) -> list[Outcome]:
        """Of what is held, in order; None leaves it held, and what has begun may only be done or dead."""
        found = []
        for (number, tracked), fate in zip(sorted(self.held[owner].items()), fates, strict=False):
            if fate is None or (tracked.begun and fate not in (Fate.ACKED, Fate.DEAD)):
                continue
            sent = (self.message(1),) if follow_up else ()
            # Dead letters of more than priority 0 would come back in a step that no letter tells.
            if fate is Fate.DEAD and tracked.message.priority > 1:
                continue
            found.append(
                Outcome(number, fate, None, sent, eta=self.later, reason="random", id=tracked.message.id)
            )
        return found

    def sent(self, messages: Sequence[Message]) -> None:
        for sent in messages:
            shelves = self.shelves[sent.queue]
            if sent.eta is None:
                shelves.ready[_step(sent)].append(Tracked(sent))
            else:
                shelves.delayed.append(Tracked(sent))

    def settled(self, owner: str, outcomes: Sequence[Outcome]) -> None:
        held = self.held[owner]
        back = []
        for outcome in outcomes:
            self.sent(outcome.follow_ups)
            tracked = held[outcome.number]
            if outcome.fate is Fate.BEGUN:
                tracked.begun = True
                continue
            del held[outcome.number]
            shelves = self.shelves[tracked.message.queue]
            if outcome.fate is Fate.DEFERRED:
                shelves.delayed.append(tracked)
            elif outcome.fate is Fate.DEAD:
                shelves.dead.append(tracked)
            elif outcome.fate is not Fate.ACKED:
                tracked.deliveries += outcome.fate is Fate.LOST
                back.append((outcome.number, tracked))
        self.give_back(back)

    def give_back(self, numbered: Sequence[tuple[int, Tracked]]) -> None:
        for _, tracked in reversed(numbered):
            self.shelves[tracked.message.queue].ready[_step(tracked.message)].insert(0, tracked)

    def claimed(self, owner: str, claims: Sequence[Claim], want: int) -> None:
        waiting = sum(len(shelves.in_order()) for shelves in self.shelves.values())
        assert len(claims) == min(want, waiting)
        for claim in claims:
            shelves = self.shelves[claim.queue]
            tracked = shelves.in_order()[0]
            assert (name_of(claim.payload), claim.deliveries) == (tracked.message.id, tracked.deliveries)
            shelves.ready[_step(tracked.message)].pop(0)
            assert claim.number > max(self.held[owner], default=0)
            self.held[owner][claim.number] = tracked


def _step(message: Message) -> int:
    return max(step for step in PRIORITY_STEPS if step <= message.priority)
