"""Queues that are paused for everybody, and what an owner holds, for those who look on."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from celeriac.message import Depth, Fate, Outcome
from celeriac.ports import Broker
from celeriac.testing.conformance.rig import (
    A_MOMENT,
    PATIENCE,
    Child,
    Opened,
    acks,
    message,
    name_of,
    names,
)


class Pausing(Opened):
    """`pause`, `resume`, and what is there to be looked at."""

    def test_nobody_claims_from_a_paused_queue_and_the_others_go_on(
        self, broker: Broker, hire: Callable[..., Child]
    ) -> None:
        early = hire("early", queues=["a", "b"])
        broker.pause("a")
        late = hire("late", queues=["a", "b"])
        broker.publish([message("1", "a"), message("2", "b"), message("3", "a")])
        assert names(early.claim(want=5) + late.claim(want=5)) == ["2"]
        assert broker.depth(["a"])["a"] == Depth(ready=2)

    def test_what_is_held_of_a_paused_queue_is_settled_as_ever(self, child: Child) -> None:
        child.send(message("1"), message("2"))
        first, second = child.claim(want=2)
        child.broker.pause("celery")
        child.settle(Outcome(first.number), Outcome(second.number, Fate.GIVEN_BACK))
        assert child.depth() == Depth(ready=1)
        assert child.claim() == []

    def test_a_pause_is_kept_and_may_be_said_twice(
        self, broker: Broker, open_broker: Callable[[], Broker]
    ) -> None:
        assert broker.paused() == []
        for queue in ("b", "a", "b"):
            broker.pause(queue)
        broker.close()
        other = open_broker()
        assert other.paused() == ["a", "b"]
        other.resume("a")
        other.resume("a")
        other.resume("unknown")
        assert other.paused() == ["b"]
        other.close()

    def test_who_waits_claims_as_soon_as_it_is_resumed(
        self, broker: Broker, child: Child, threads: ThreadPoolExecutor
    ) -> None:
        broker.pause("celery")
        broker.publish([message("1"), message("2", eta=time.time() + A_MOMENT)])
        waiting = threads.submit(child.claim, wait=PATIENCE)
        time.sleep(5 * A_MOMENT)
        assert not waiting.done()
        broker.resume("celery")
        assert names(waiting.result(PATIENCE / 2)) == ["1"]
        assert child.claim_names(wait=PATIENCE) == ["2"]

    def test_what_is_delayed_waits_on_in_a_paused_queue(self, broker: Broker, child: Child) -> None:
        broker.pause("celery")
        broker.publish([message("1", eta=time.time() + A_MOMENT)])
        assert child.claim(wait=10 * A_MOMENT) == []
        broker.resume("celery")
        assert child.claim_names(wait=PATIENCE) == ["1"]

    def test_it_shows_what_an_owner_holds(self, broker: Broker, hire: Callable[..., Child]) -> None:
        child = hire("child")
        other = hire("other")
        broker.publish([message(name) for name in "abcd"])
        claims = child.claim(want=3)
        child.settle(Outcome(claims[0].number, Fate.BEGUN), Outcome(claims[1].number))
        mark, _, left = claims
        shown = broker.held("child")
        assert [(claim.number, claim.payload, claim.begun) for claim in shown] == [
            (mark.number, mark.payload, True),
            (left.number, left.payload, False),
        ]
        assert broker.held("other") == broker.held("unknown") == []
        assert names(other.claim(want=5)) == ["d"]
        child.settle(*acks(shown))
        assert broker.held("child") == []

    def test_it_shows_what_waits_for_its_time(self, broker: Broker) -> None:
        now = time.time()
        broker.publish([message("late", eta=now + 200), message("soon", eta=now + 100), message("now")])
        shown = broker.delayed("celery", 10)
        assert [name_of(payload) for _, payload in shown] == ["soon", "late"]
        assert [round(eta - now) for eta, _ in shown] == [100, 200]
        assert [name_of(payload) for _, payload in broker.delayed("celery", 1)] == ["soon"]
        assert broker.delayed("celery", 0) == broker.delayed("other", 10) == []

    def test_it_shows_what_is_revoked_and_not_the_stamps_among_it(self, broker: Broker) -> None:
        broker.revoke(["a"], 500.0)
        broker.revoke(["b", "\nheader\nvalue"], 600.0)
        assert broker.revokes(10) == ["b", "a"]
        assert broker.revokes(1) == ["b"]
        assert broker.revokes(0) == []
