"""A message is sent, and one owner claims it: once, in order, at its time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.message import Claim, Depth, Fate, Message, Outcome
from celeriac.ports import Broker
from celeriac.testing.conformance.rig import (
    A_MOMENT,
    ODD_NAMES,
    PATIENCE,
    ROUNDING,
    Child,
    Opened,
    acks,
    all_of,
    assert_prompt,
    envelope,
    message,
    name_of,
    names,
    soon,
    until,
)


class Sending(Opened):
    """What is sent can be claimed."""

    def test_messages_are_claimed_in_the_order_they_were_sent(self, child: Child) -> None:
        child.send(message("a"), message("b"))
        child.send(message("c"))
        assert child.claim_names(want=2) == ["a", "b"]
        assert child.claim_names() == ["c"]
        assert child.claim_names() == []

    def test_a_claim_carries_the_message_and_a_number(self, child: Child) -> None:
        child.send(message("a"))
        assert child.claim() == [
            Claim(number=1, queue="celery", payload=envelope("a"), deliveries=0, begun=False)
        ]

    def test_numbers_run_upward_in_the_order_of_claiming(self, child: Child) -> None:
        child.send(*map(message, "abcdef"))
        first, second = child.claim(want=3), child.claim(want=3)
        assert [claim.number for claim in first + second] == [1, 2, 3, 4, 5, 6]
        child.settle(*acks(first + second))
        child.send(message("g"))
        assert [claim.number for claim in child.claim()] == [7]

    def test_batches_are_stored_in_their_order_up_to_one_that_cannot_be_made(
        self, broker: Broker, child: Child
    ) -> None:
        def batches() -> Iterator[list[Message]]:
            for n in range(4):
                yield [message(f"{n}.{m}", priority=3 * (n % 2)) for m in range(3)]
            raise ZeroDivisionError

        broker.publish_all([])
        with pytest.raises(ZeroDivisionError):
            broker.publish_all(batches())
        assert names(child.claim_all()) == [f"{n}.{m}" for n in (0, 2, 1, 3) for m in range(3)]

    def test_a_thousand_messages_of_one_publish_keep_their_order(self, child: Child) -> None:
        sent = [str(n) for n in range(1000)]
        child.send(*map(message, sent))
        assert child.depth() == Depth(ready=1000)
        claimed = child.claim(want=7) + child.claim_all()
        assert names(claimed) == sent
        child.settle(*acks(claimed))
        assert child.depth() == Depth()

    def test_wanting_more_than_there_is_gives_what_there_is(self, child: Child) -> None:
        child.send(message("a"), message("b"))
        assert child.claim_names(want=100) == ["a", "b"]

    def test_wanting_nothing_claims_nothing_and_does_not_wait(self, child: Child) -> None:
        child.send(message("a"))
        with soon():
            assert child.turn(want=0, wait=5.0) == []
        assert child.depth() == Depth(ready=1)

    def test_publishing_nothing_changes_nothing(self, child: Child) -> None:
        child.send()
        assert child.broker.queues() == []

    def test_a_message_goes_to_one_owner_only(self, hire: Callable[..., Child]) -> None:
        one, other = hire("one"), hire("other")
        one.send(*map(message, "abc"))
        assert one.claim_names(want=2) == ["a", "b"]
        assert other.claim_names(want=9) == ["c"]
        assert one.claim_names() == other.claim_names() == []

    def test_a_broker_that_only_sends_needs_no_owner(self, broker: Broker, child: Child) -> None:
        broker.publish([message("a")])
        assert child.claim_names() == ["a"]

    def test_a_smaller_priority_goes_first(self, child: Child) -> None:
        child.send(
            message("9", priority=9),
            message("6", priority=6),
            message("0", priority=0),
            message("3", priority=3),
        )
        assert child.claim_names(want=3) == ["0", "3", "6"]
        child.send(message("again 0", priority=0))
        assert child.claim_names(want=3) == ["again 0", "9"]

    def test_priorities_of_one_step_keep_the_order_of_sending(self, child: Child) -> None:
        child.send(
            message("5", priority=5),
            message("3", priority=3),
            message("4", priority=4),
            message("2", priority=2),
            message("0", priority=0),
            message("far", priority=255),
            message("9", priority=9),
        )
        assert child.claim_names(want=9) == ["2", "0", "5", "3", "4", "far", "9"]

    def test_a_queue_that_is_not_consumed_is_left_alone(self, hire: Callable[..., Child]) -> None:
        child = hire(queues=["mine"])
        child.send(message("a", "other"), message("b", "mine"))
        assert child.claim_names(want=9) == ["b"]
        assert child.depth("other") == Depth(ready=1)

    def test_the_queues_to_claim_from_may_change(self, child: Child) -> None:
        child.send(message("a"), message("b", "other"))
        child.broker.consume(["other"])
        assert child.claim_names(want=9) == ["b"]
        child.broker.consume(["other", "celery"])
        assert child.claim_names(want=9) == ["a"]

    def test_who_consumes_no_queue_claims_nothing(self, hire: Callable[..., Child]) -> None:
        child = hire(queues=[])
        child.send(message("a"))
        assert child.claim_names(want=9) == []

    @pytest.mark.parametrize("want", [1, 10])
    def test_no_queue_starves_behind_another(self, hire: Callable[..., Child], want: int) -> None:
        queues = ["flooded", "second", "third"]
        child = hire(queues=queues)
        child.send(*(message(f"flood {n}", "flooded") for n in range(100)))
        assert child.claim(want=want)
        child.send(message("a", "second"), message("b", "third"))
        claims = [claim for _ in queues for claim in child.claim(want=want)]
        assert {"flooded", "second", "third"} <= {claim.queue for claim in claims} | {"flooded"}
        assert names(claim for claim in claims if claim.queue == "second") == ["a"]

    def test_two_flooded_queues_are_both_served(self, hire: Callable[..., Child]) -> None:
        child = hire(queues=["left", "right"])
        child.send(*(message(f"{queue} {n}", queue) for queue in ("left", "right") for n in range(20)))
        claims = [claim for _ in range(10) for claim in child.claim(want=1)]
        assert {claim.queue for claim in claims} == {"left", "right"}
        for queue in ("left", "right"):
            mine = [name for name in names(claims) if name.startswith(queue)]
            assert mine == [f"{queue} {n}" for n in range(len(mine))]

    @pytest.mark.parametrize("queue", ODD_NAMES)
    def test_a_queue_may_have_an_odd_name(self, hire: Callable[..., Child], queue: str) -> None:
        child = hire(owner=f"owner of {queue}", node=f"node of {queue}", queues=[queue])
        later = time.time() + 3600
        child.send(message("a", queue), message("b", queue, priority=9), message("c", queue, eta=later))
        assert child.broker.queues() == [queue]
        assert child.peek_names(queue) == ["a", "b"]
        claims = child.claim(want=9)
        assert [(claim.queue, name_of(claim.payload)) for claim in claims] == [(queue, "a"), (queue, "b")]
        child.settle(Outcome(claims[0].number, Fate.DEAD, id="a", reason=queue))
        assert child.depth(queue) == Depth(delayed=1, claimed=1, dead=1)
        assert [(letter.queue, letter.reason) for letter in child.broker.letters(9)] == [(queue, queue)]
        assert child.broker.replay(["a"]) == 1
        assert child.broker.purge(queue) == 2

    def test_a_payload_is_carried_to_the_byte(self, child: Child) -> None:
        payload = bytes(range(256)) * 3
        child.send(Message("a", "celery", payload))
        assert child.broker.peek("celery", 1) == [payload]
        (claim,) = child.claim()
        child.settle(Outcome(claim.number, Fate.DEAD, id="a"))
        assert child.broker.letters(1)[0].payload == payload
        assert child.broker.replay(["a"]) == 1
        assert child.claim()[0].payload == payload

    def test_a_large_payload_is_carried(self, child: Child) -> None:
        payload = os.urandom(1 << 20) * 8
        child.send(Message("large", "celery", payload), message("small"))
        large, small = child.claim_all()
        assert large.payload == payload
        assert small.payload == envelope("small")
        child.settle(*acks([large, small]))

    def test_equal_messages_are_counted_one_by_one(self, child: Child) -> None:
        later = time.time() + 3600
        child.send(*(Message("same", "celery", b"same") for _ in range(3)))
        child.send(*(Message(f"id {n}", "celery", b"same", eta=later) for n in range(3)))
        assert child.depth() == Depth(ready=3, delayed=3)
        claims = child.claim(want=9)
        assert len(claims) == 3
        child.settle(*(Outcome(claim.number, Fate.DEFERRED, eta=later) for claim in claims))
        assert child.depth() == Depth(delayed=6)

    def test_what_eight_threads_send_arrives_once_and_in_each_ones_order(
        self, broker: Broker, child: Child, threads: ThreadPoolExecutor
    ) -> None:
        def send(sender: int) -> None:
            for n in range(25):
                broker.publish([message(f"{sender}:{n}")])

        all_of(threads.submit(send, sender) for sender in range(8))
        claimed = names(child.claim_all())
        for sender in range(8):
            assert [name for name in claimed if name.startswith(f"{sender}:")] == [
                f"{sender}:{n}" for n in range(25)
            ]
        assert len(claimed) == 200

    def test_four_children_drain_a_queue_and_share_no_message(
        self, broker: Broker, hire: Callable[..., Child], threads: ThreadPoolExecutor
    ) -> None:
        def drain(child: Child) -> list[str]:
            done: list[str] = []
            claims = child.claim(want=7, wait=PATIENCE)
            while claims and "stop" not in names(claims):
                done += names(claims)
                claims = child.turn(*acks(claims), want=7, wait=PATIENCE)
            child.settle(*acks(claims))
            return done + [name for name in names(claims) if name != "stop"]

        futures = [threads.submit(drain, hire(f"child {n}")) for n in range(4)]
        for n in range(40):
            broker.publish([message(f"{n}.{m}") for m in range(5)])
        until(lambda: broker.depth(["celery"])["celery"] == Depth())
        # One at a time, for a child that takes several stops leaves none to the others.
        for left in (3, 2, 1, 0):
            broker.publish([message("stop")])
            until(lambda left=left: sum(not future.done() for future in futures) == left)  # type: ignore[misc]
        assert sorted(name for future in futures for name in future.result()) == sorted(
            f"{n}.{m}" for n in range(40) for m in range(5)
        )

    def test_a_message_with_an_eta_is_claimed_when_it_is_due(self, child: Child) -> None:
        eta = time.time() + 0.15
        child.send(message("a", eta=eta))
        assert child.depth() == Depth(delayed=1)
        assert child.claim_names() == []
        assert child.claim_names(wait=PATIENCE) == ["a"]
        assert time.time() >= eta - ROUNDING

    def test_a_wait_ends_at_the_very_time_that_a_message_is_due(self, child: Child) -> None:
        etas = [time.time() + 0.05 * n for n in (1, 2, 3, 4, 5)]
        child.send(*(message(str(eta), eta=eta) for eta in reversed(etas)))
        late = []
        for eta in etas:
            assert child.claim_names(wait=PATIENCE) == [str(eta)]
            late.append(time.time() - eta)
        assert min(late) >= -ROUNDING
        assert_prompt(late)

    def test_a_wait_hears_of_an_earlier_eta_that_is_sent_meanwhile(
        self, broker: Broker, child: Child, threads: ThreadPoolExecutor
    ) -> None:
        child.send(message("late", eta=time.time() + 3600))
        waiting = threads.submit(child.claim_names, wait=PATIENCE)
        time.sleep(A_MOMENT)
        broker.publish([message("soon", eta=time.time() + 0.1)])
        with soon():
            assert waiting.result(PATIENCE) == ["soon"]

    def test_a_message_whose_eta_has_passed_is_ready(self, child: Child) -> None:
        child.send(message("a", eta=time.time() - 100), message("b", eta=0.0))
        assert sorted(child.claim_names(want=9)) == ["a", "b"]

    def test_delayed_messages_come_by_their_etas_and_keep_their_priority(self, child: Child) -> None:
        now = time.time()
        child.send(
            message("third", eta=now + 0.06),
            message("urgent, later", eta=now + 0.07),
            message("patient", priority=9, eta=now + 0.02),
            message("first", eta=now + 0.04),
        )
        until(lambda: time.time() > now + 0.1)
        assert child.claim_names(want=9) == ["first", "third", "urgent, later", "patient"]
