"""What an operator sees and does, and how a connection ends."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

import pytest

from celeriac.exceptions import Fenced, OperationalError
from celeriac.message import Binding, Count, Depth, Fate, Message, Outcome
from celeriac.ports import Broker
from celeriac.testing.conformance.rig import (
    PATIENCE,
    Child,
    Opened,
    message,
    name_of,
    soon,
)
from celeriac.wire.packing import pack


class Looking(Opened):
    """Looking moves nothing; closing loses nothing."""

    def test_peek_shows_what_would_be_claimed_and_moves_nothing(self, child: Child) -> None:
        child.send(*(message(f"{n}", priority=priority) for n, priority in enumerate((9, 3, 0, 9, 3, 0))))
        child.send(message("later", eta=time.time() + 3600))
        shown = child.broker.peek("celery", 100)
        assert shown == child.broker.peek("celery", 100)
        assert child.broker.peek("celery", 4) == shown[:4]
        assert child.broker.peek("celery", 0) == []
        assert child.broker.peek("no such queue", 9) == []
        assert [claim.payload for claim in child.claim(want=100)] == shown
        assert child.broker.peek("celery", 100) == []

    def test_depth_counts_each_queue_apart_and_an_unknown_one_as_empty(self, child: Child) -> None:
        child.send(message("a"), message("b", "other", priority=9), message("c", "other"))
        assert child.broker.depth(["other", "celery", "unknown"]) == {
            "other": Depth(ready=2),
            "celery": Depth(ready=1),
            "unknown": Depth(),
        }
        assert child.broker.depth([]) == {}

    def test_bindings_are_kept_by_exchange_until_their_time_is_over(self, child: Child) -> None:
        lasting = [Binding("media", "images", "image.#", "topic"), Binding("media", "one", "key")]
        child.broker.bind([*lasting, Binding("other", "images", "image", "direct")])
        child.broker.bind([Binding("media", "living", "", "fanout")], keep=60.0)
        child.broker.bind([Binding("media", "dead", "", "fanout")], keep=-1.0)
        child.broker.bind(lasting)  # twice is once
        found = {one.queue: one for one in child.broker.bindings("media")}
        assert found == {
            "images": lasting[0],
            "one": lasting[1],
            "living": Binding("media", "living", "", "fanout"),
        }
        assert child.broker.bindings("nobody's") == []
        child.broker.announce("media", "key", b"{}")  # nobody listens

    def test_queues_names_every_queue_with_a_message_in_any_place(self, hire: Callable[..., Child]) -> None:
        child = hire(queues=["claimed", "dead", "done"])
        assert child.broker.queues() == []
        child.send(
            message("a", "dead"),
            message("b", "ready"),
            message("c", "delayed", eta=time.time() + 3600),
            message("d", "claimed"),
            message("e", "patient", priority=9),
            message("f", "done"),
        )
        fates = {"dead": Fate.DEAD, "done": Fate.ACKED}
        child.settle(
            *(
                Outcome(claim.number, fates[claim.queue], id="x")
                for claim in child.claim(want=9)
                if claim.queue in fates
            )
        )
        assert child.broker.queues() == ["claimed", "dead", "delayed", "patient", "ready"]

    def test_queues_names_those_too_to_which_only_outcomes_send(self, child: Child) -> None:
        child.send(message("a"), message("b"))
        first, second = child.claim(want=2)
        last = Count("chord", "b", "b", 0, 1, b'[1, "b", "SUCCESS", 1]', body=(message("body", "bodies"),))
        child.settle(
            Outcome(
                first.number, follow_ups=(message("next", "steps"), message("later", "retries", eta=9e9))
            ),
            Outcome(second.number, counts=(last,)),
        )
        assert child.broker.queues() == ["bodies", "retries", "steps"]
        assert sorted(name_of(payload) for part in child.broker.payloads() for payload in part) == [
            "body",
            "later",
            "next",
        ]

    def test_payloads_are_all_that_is_delayed_ready_or_claimed(self, child: Child) -> None:
        def all_names() -> list[str]:
            return sorted(name_of(payload) for part in child.broker.payloads() for payload in part)

        assert all_names() == []
        child.send(message("dead"), message("done"))
        dead, done = child.claim(want=2)
        child.settle(Outcome(dead.number, Fate.DEAD, id="dead"), Outcome(done.number))
        child.send(message("claimed"), message("begun"))
        _, begun = child.claim(want=2)
        child.settle(Outcome(begun.number, Fate.BEGUN))
        child.send(
            message("ready"),
            message("patient", priority=9),
            message("elsewhere", "elsewhere"),
            message("later", eta=time.time() + 3600),
        )
        there = ["begun", "claimed", "elsewhere", "later", "patient", "ready"]
        assert all_names() == there
        more = [f"{n:04}" for n in range(1203)]
        child.send(*(message(name) for name in more))
        assert all_names() == more + there

    def test_of_payloads_none_is_missed_that_is_claimed_while_somebody_reads(self, child: Child) -> None:
        child.send(*(message(f"{n:04}") for n in range(1203)))
        seen: list[str] = []
        for part in child.broker.payloads():
            child.claim(want=300)
            child.send(message("new"))
            seen += map(name_of, part)
        assert set(seen) - {"new"} == {f"{n:04}" for n in range(1203)}

    def test_purge_removes_what_waits_and_nothing_else(self, hire: Callable[..., Child]) -> None:
        child = hire(queues=["celery"])
        child.send(message("a"), message("b"))
        dead, _ = child.claim(want=2)
        child.settle(Outcome(dead.number, Fate.DEAD, id="a"))
        child.send(
            message("c"),
            message("d", priority=9),
            message("e", eta=time.time() + 3600),
            message("f", "other"),
        )
        assert child.broker.purge("celery") == 3
        assert child.depth() == Depth(claimed=1, dead=1)
        assert child.depth("other") == Depth(ready=1)
        assert child.broker.purge("celery") == 0
        assert child.broker.purge("no such queue") == 0

    def test_seizing_removes_what_waits_but_holds_what_others_wait_for(
        self, hire: Callable[..., Child]
    ) -> None:
        child, later = hire(queues=["celery"]), time.time() + 3600
        child.send(alone("a"), followed("b"), alone("c", priority=9), message("f", "other"))
        child.send(alone("d", eta=later), followed("e", eta=later))
        child.broker.enlist("seizer", "seizers", 30.0)
        assert child.broker.seize("celery", "seizer", 2) == 2
        assert child.broker.seize("celery", "seizer", 10) == 3
        assert child.broker.seize("celery", "seizer", 10) == 0
        assert child.depth() == Depth(claimed=2)
        claims = child.broker.adopt("seizer", "heir", "seizers")
        assert [(claim.number, claim.payload) for claim in claims] == [
            (1, followed("b").payload),
            (2, followed("e").payload),
        ]
        child.broker.turn("heir", [Outcome(1)], 0)
        child.broker.dismiss("heir")
        assert child.claim_names() == [name_of(followed("e").payload)]
        with pytest.raises(Fenced):
            child.broker.seize("celery", "seizer", 10)

    def test_seizing_every_message_holds_them_all(self, child: Child) -> None:
        sent = [alone("a"), followed("b"), alone("d", eta=time.time() + 3600)]
        child.send(*sent)
        child.broker.enlist("seizer", "seizers", 30.0)
        assert child.broker.seize("celery", "seizer", 10, every=True) == 3
        claims = child.broker.adopt("seizer", "heir", "seizers")
        assert [claim.payload for claim in claims] == [one.payload for one in sent]
        child.broker.dismiss("heir")
        assert child.depth() == Depth(ready=3)

    def test_the_first_message_of_each_priority_is_shown(self, child: Child) -> None:
        assert child.broker.firsts("celery") == {}
        child.send(*(message(name, priority=step) for step in (6, 0) for name in (f"a{step}", f"b{step}")))
        firsts = child.broker.firsts("celery")
        assert {step: name_of(payload) for step, payload in firsts.items()} == {0: "a0", 6: "a6"}
        assert child.depth() == Depth(ready=4)

    def test_a_closed_broker_says_so_and_may_be_closed_again(self, child: Child) -> None:
        child.broker.close()
        child.broker.close()
        calls: list[Callable[[], object]] = [
            lambda: child.send(message("a")),
            lambda: child.claim(wait=PATIENCE),
            lambda: child.broker.enlist("new", "node", 30.0),
            lambda: child.broker.beat("node", 30.0),
            lambda: child.broker.adopt("child", "heir", "node"),
            lambda: child.broker.dismiss("child"),
            lambda: child.broker.depth(["celery"]),
            child.broker.queues,
            lambda: child.broker.peek("celery", 1),
            lambda: child.broker.purge("celery"),
            lambda: child.broker.letters(1),
            lambda: child.broker.replay(["a"]),
        ]
        for call in calls:
            with pytest.raises(OperationalError), soon():
                call()

    def test_a_broker_that_did_nothing_can_be_closed(self, open_broker: Callable[[], Broker]) -> None:
        open_broker().close()

    def test_closing_one_connection_leaves_the_others(self, broker: Broker, child: Child) -> None:
        child.send(message("a"))
        broker.close()
        assert child.claim_names() == ["a"]

    def test_a_lookout_may_be_closed_before_it_looked_and_again(self, broker: Broker) -> None:
        broker.consume(["celery"])
        lookout = broker.lookout("node")
        if lookout is None:
            pytest.skip("whatever becomes ready here wakes a waiting turn by itself")
        lookout.close()
        lookout.close()

    def test_a_lookout_asks_to_be_called_again_in_time(self, broker: Broker) -> None:
        broker.consume(["celery"])
        lookout = broker.lookout("node")
        if lookout is None:
            pytest.skip("whatever becomes ready here wakes a waiting turn by itself")
        try:
            assert 0.0 < lookout.look() <= 60.0
            broker.publish([message("a", eta=time.time() + 0.3)])
            deadline = time.monotonic() + 0.3
            while (pause := lookout.look()) > 0.3 and time.monotonic() < deadline:
                listening = lookout.fileno()
                select.select([] if listening is None else [listening], [], [], 0.05)
            assert pause <= 0.3
        finally:
            lookout.close()


def alone(name: str, priority: int = 0, eta: float | None = None) -> Message:
    """A task message after which nothing comes."""
    return Message(
        name, "celery", pack(name=name, id=name, args=(), kwargs={}, queue="celery"), priority, eta
    )


def followed(name: str, eta: float | None = None) -> Message:
    """Bytes that do not say so."""
    return message(name, eta=eta)
