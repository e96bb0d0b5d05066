"""What becomes of a claim: done, back, later, dead, and all that goes with it in the same step."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.message import MOST_DEATHS, Depth, Fate, Letter, Outcome, Result
from celeriac.ports import Broker, ResultStore
from celeriac.testing.conformance.rig import (
    PATIENCE,
    ROUNDING,
    Child,
    Opened,
    Teller,
    acks,
    envelope,
    message,
    name_of,
    names,
    soon,
    until,
)


class Fates(Opened):
    """Each outcome settles fully and once, or not at all."""

    def test_every_move_is_counted_in_the_place_it_ends_in(self, child: Child) -> None:
        later = time.time() + 3600
        assert child.depth() == Depth()
        child.send(*map(message, "abcdef"), message("g", eta=later))
        assert child.depth() == Depth(ready=6, delayed=1)
        a, b, c, d, e = child.claim(want=5)
        assert child.depth() == Depth(ready=1, delayed=1, claimed=5)
        child.settle(Outcome(a.number))
        assert child.depth() == Depth(ready=1, delayed=1, claimed=4)
        child.settle(Outcome(b.number, Fate.BEGUN))
        assert child.depth() == Depth(ready=1, delayed=1, claimed=4)
        child.settle(Outcome(c.number, Fate.GIVEN_BACK))
        assert child.depth() == Depth(ready=2, delayed=1, claimed=3)
        child.settle(Outcome(d.number, Fate.DEFERRED, eta=later))
        assert child.depth() == Depth(ready=2, delayed=2, claimed=2)
        child.settle(Outcome(e.number, Fate.DEAD, id="e"))
        assert child.depth() == Depth(ready=2, delayed=2, claimed=1, dead=1)
        child.settle(Outcome(b.number))
        assert child.depth() == Depth(ready=2, delayed=2, dead=1)
        assert child.broker.purge("celery") == 4
        assert child.depth() == Depth(dead=1)
        assert child.broker.replay(["e"]) == 1
        assert child.depth() == Depth(ready=1)
        child.settle(*acks(child.claim()))
        assert child.depth() == Depth()
        assert child.broker.queues() == []

    def test_what_is_given_back_comes_first_again_in_order_and_uncounted(self, child: Child) -> None:
        child.send(*map(message, "abcdef"))
        claims = child.claim(want=5)
        child.settle(*(Outcome(claim.number, Fate.GIVEN_BACK) for claim in claims[1:]))
        again = child.claim(want=9)
        assert names(again) == ["b", "c", "d", "e", "f"]
        assert {claim.deliveries for claim in again} == {0}

    def test_what_is_given_back_one_by_one_from_the_last_comes_in_order(self, child: Child) -> None:
        child.send(*map(message, "abcde"))
        for claim in reversed(child.claim(want=4)[1:]):
            child.settle(Outcome(claim.number, Fate.GIVEN_BACK))
        assert child.claim_names(want=9) == ["b", "c", "d", "e"]

    def test_what_was_marked_and_did_not_begin_after_all_loses_its_mark(self, child: Child) -> None:
        child.send(message("a"))
        (claim,) = child.claim()
        child.settle(Outcome(claim.number, Fate.BEGUN), Outcome(claim.number, Fate.GIVEN_BACK))
        (again,) = child.claim()
        assert (name_of(again.payload), again.begun) == ("a", False)

    def test_what_is_given_back_keeps_its_queue_and_priority(self, hire: Callable[..., Child]) -> None:
        child = hire(queues=["one", "two"])
        child.send(
            message("patient", "one", priority=9),
            message("urgent", "one"),
            message("two", "two", priority=6),
        )
        claims = child.claim(want=3)
        child.settle(*(Outcome(claim.number, Fate.GIVEN_BACK) for claim in claims))
        assert child.peek_names("one") == ["urgent", "patient"]
        assert child.peek_names("two") == ["two"]
        child.send(message("less patient", "one", priority=6))
        assert child.peek_names("one") == ["urgent", "less patient", "patient"]

    def test_the_same_turn_may_claim_what_it_gave_back(self, child: Child) -> None:
        child.send(message("a"), message("b"))
        (claim,) = child.claim()
        assert names(child.turn(Outcome(claim.number, Fate.GIVEN_BACK), want=1)) == ["a"]

    def test_a_lost_message_comes_first_again_and_counts_its_deliveries(self, child: Child) -> None:
        child.send(message("a"), message("b"))
        for died in range(3):
            (claim,) = child.claim()
            assert (name_of(claim.payload), claim.deliveries) == ("a", died)
            child.settle(Outcome(claim.number, Fate.LOST))
        (claim,) = child.claim()
        child.settle(Outcome(claim.number, Fate.GIVEN_BACK))
        (claim,) = child.claim()
        assert (name_of(claim.payload), claim.deliveries, claim.deaths) == ("a", 3, ())
        assert child.claim()[0].deliveries == 0

    def test_a_lost_message_tells_how_its_last_owners_died(self, hire: Callable[..., Child]) -> None:
        child, heir = hire(), hire("heir")
        child.send(message("a"), message("b"))
        ways = [f'signal {n} (SIGÜ): "it\\fell" {{}}' for n in range(MOST_DEATHS + 1)]
        for died, way in enumerate(ways):
            (claim,) = child.claim()
            assert (name_of(claim.payload), claim.deliveries) == ("a", died)
            assert claim.deaths == tuple(ways[:died])
            child.settle(Outcome(claim.number, Fate.LOST, reason=way))
        (claim,) = child.claim()
        assert claim.deaths == tuple(ways[-MOST_DEATHS:])
        (claim,) = heir.broker.adopt(child.owner, "of the heir", "node")
        assert (claim.deliveries, claim.deaths) == (len(ways), tuple(ways[-MOST_DEATHS:]))
        heir.broker.turn("of the heir", [Outcome(claim.number, Fate.DEAD, id="a")], 0)
        assert heir.broker.replay(["a"]) == 1
        told = {name_of(one.payload): (one.deliveries, one.deaths) for one in heir.claim(want=2)}
        assert told == {"a": (0, ()), "b": (0, ())}

    def test_a_deferred_message_waits_for_its_time_and_keeps_its_count(self, child: Child) -> None:
        child.send(message("a", priority=9))
        child.settle(Outcome(child.claim()[0].number, Fate.LOST))
        (claim,) = child.claim()
        eta = time.time() + 0.1
        child.settle(Outcome(claim.number, Fate.DEFERRED, eta=eta))
        assert child.depth() == Depth(delayed=1)
        child.send(message("b", priority=9))
        assert child.claim_names(want=9) == ["b"]
        (again,) = child.claim(wait=PATIENCE)
        assert time.time() >= eta - ROUNDING
        assert (name_of(again.payload), again.deliveries) == ("a", 1)

    def test_a_message_deferred_to_a_time_gone_by_is_claimed_again(self, child: Child) -> None:
        child.send(message("a"))
        (claim,) = child.claim()
        with soon():
            assert names(child.turn(Outcome(claim.number, Fate.DEFERRED), want=1, wait=PATIENCE)) == ["a"]

    def test_a_dead_message_is_kept_as_a_letter_and_can_be_replayed(self, child: Child) -> None:
        child.send(message("a"))
        for _ in range(2):
            child.settle(Outcome(child.claim()[0].number, Fate.LOST))
        (claim,) = child.claim()
        before = time.time()
        child.settle(Outcome(claim.number, Fate.DEAD, id="letter a", reason="its child died 3 times: ü"))
        (letter,) = child.broker.letters(9)
        assert before - 1 <= letter.died_at <= time.time() + 1
        assert letter == Letter(
            "letter a", "celery", letter.payload, "its child died 3 times: ü", letter.died_at, deliveries=2
        )
        assert name_of(letter.payload) == "a"
        assert child.claim_names() == []

        child.send(message("b"))
        assert child.broker.replay(["letter a", "no such letter"]) == 1
        assert child.broker.letters(9) == []
        assert child.broker.replay(["letter a"]) == 0
        again = child.claim(want=9)
        assert [(name_of(claim.payload), claim.deliveries) for claim in again] == [("b", 0), ("a", 0)]

    def test_letters_come_newest_first_and_no_more_than_wanted(self, child: Child) -> None:
        child.send(*map(message, "abcd"))
        for name in "abcd":
            child.settle(Outcome(child.claim()[0].number, Fate.DEAD, id=name))
        assert [letter.id for letter in child.broker.letters(9)] == ["d", "c", "b", "a"]
        assert [letter.id for letter in child.broker.letters(2)] == ["d", "c"]
        assert child.broker.letters(0) == []
        assert child.broker.replay(["a", "c"]) == 2
        assert [letter.id for letter in child.broker.letters(9)] == ["d", "b"]

    def test_two_dead_messages_of_one_name_are_both_kept(self, child: Child) -> None:
        child.send(message("a"), message("b"))
        child.settle(*(Outcome(claim.number, Fate.DEAD, id="same") for claim in child.claim(want=2)))
        assert child.depth() == Depth(dead=2)
        assert sorted(name_of(letter.payload) for letter in child.broker.letters(9)) == ["a", "b"]
        assert child.broker.replay(["same"]) == 2
        assert sorted(child.claim_names(want=9)) == ["a", "b"]

    def test_what_has_begun_is_marked_for_who_adopts_it(self, hire: Callable[..., Child]) -> None:
        child, heir = hire("child"), hire("supervisor")
        child.send(*map(message, "abc"))
        a, b, _ = child.claim(want=3)
        child.settle(Outcome(a.number, Fate.BEGUN), Outcome(b.number, Fate.BEGUN))
        child.settle(Outcome(b.number, Fate.BEGUN))
        claims = heir.broker.adopt("child", "heir", "node")
        assert [(name_of(claim.payload), claim.begun) for claim in claims] == [
            ("a", True),
            ("b", True),
            ("c", False),
        ]

    def test_what_has_begun_is_still_held_and_settled_later(self, child: Child) -> None:
        child.send(message("a"))
        (claim,) = child.claim()
        child.settle(Outcome(claim.number, Fate.BEGUN))
        assert child.depth() == Depth(claimed=1)
        child.settle(Outcome(claim.number))
        assert child.depth() == Depth()

    def test_the_outcome_of_a_claim_that_is_not_held_settles_nothing(
        self, child: Child, results: ResultStore
    ) -> None:
        child.send(message("a"), message("b"))
        a, b = child.claim(want=2)
        child.settle(Outcome(a.number))
        stray = [
            Outcome(number, fate, Result("late", b"late"), (message("follow-up"),), eta=1.0, id="late")
            for number in (a.number, 77)
            for fate in Fate
        ]
        child.settle(*stray, Outcome(b.number, result=Result("b", b"done")))
        assert child.depth() == Depth()
        assert child.broker.queues() == []
        assert results.load(["late", "b"]) == [None, b"done"]

    def test_of_two_outcomes_of_one_claim_the_first_settles(self, child: Child, results: ResultStore) -> None:
        child.send(message("a"))
        (claim,) = child.claim()
        child.settle(
            Outcome(claim.number, Fate.ACKED, Result("a", b"first"), (message("follow-up"),)),
            Outcome(claim.number, Fate.LOST, Result("a", b"second"), (message("wrong"),)),
        )
        assert results.load(["a"]) == [b"first"]
        assert child.claim_names(want=9) == ["follow-up"]

    def test_outcomes_that_are_said_again_settle_once(self, child: Child) -> None:
        child.send(*map(message, "abc"))
        outcomes = [
            Outcome(claim.number, fate, follow_ups=(message(f"after {fate.name}"),))
            for claim, fate in zip(child.claim(want=3), (Fate.ACKED, Fate.LOST, Fate.DEAD), strict=True)
        ]
        child.settle(*outcomes)
        child.settle(*outcomes)
        assert child.depth() == Depth(ready=4, dead=1)
        (lost,) = child.claim()
        assert (name_of(lost.payload), lost.deliveries) == ("b", 1)

    def test_follow_ups_are_sent_in_the_turn_that_settles(self, hire: Callable[..., Child]) -> None:
        child = hire(queues=["celery", "other"])
        child.send(message("a"))
        (claim,) = child.claim()
        follow_ups = (message("b"), message("c", "other"), message("d", eta=time.time() + 3600))
        claims = child.turn(Outcome(claim.number, follow_ups=follow_ups), want=9)
        assert sorted(names(claims)) == ["b", "c"]
        assert child.depth() == Depth(delayed=1, claimed=1)
        assert child.depth("other") == Depth(claimed=1)

    def test_no_one_ever_sees_a_message_in_two_places_or_in_none(
        self, broker: Broker, child: Child, threads: ThreadPoolExecutor
    ) -> None:
        later = time.time() + 3600

        def work() -> None:
            child.send(message("0"))
            for n in range(60):
                (claim,) = child.claim(wait=PATIENCE)
                if n % 3 == 0:
                    child.settle(Outcome(claim.number, follow_ups=(message(str(n)),)))
                elif n % 3 == 1:
                    child.settle(Outcome(claim.number, Fate.LOST))
                else:
                    child.settle(Outcome(claim.number, Fate.DEAD, id=str(n)))
                    broker.replay([str(n)])
            (claim,) = child.claim(wait=PATIENCE)
            child.settle(Outcome(claim.number, Fate.DEFERRED, eta=later))

        until_sent = threads.submit(work)
        until(lambda: broker.queues() != [])
        while not until_sent.done():
            depth = broker.depth(["celery"])["celery"]
            assert depth.ready + depth.delayed + depth.claimed + depth.dead == 1
        until_sent.result()
        assert broker.depth(["celery"])["celery"] == Depth(delayed=1)

    def test_results_are_there_when_the_turn_is_over(self, child: Child, results: ResultStore) -> None:
        child.send(*map(message, "abc"))
        a, b, c = child.claim(want=3)
        child.settle(
            Outcome(a.number, result=Result("a", b"of a")),
            Outcome(b.number, result=Result("b", b"of b")),
            Outcome(c.number, result=Result("c", b"of c")),
        )
        assert results.load(["a", "b", "c"]) == [b"of a", b"of b", b"of c"]

    @pytest.mark.parametrize("fate", list(Fate))
    def test_a_result_may_go_with_every_fate(self, child: Child, results: ResultStore, fate: Fate) -> None:
        child.send(message("a"))
        (claim,) = child.claim()
        child.settle(Outcome(claim.number, fate, Result("a", b"state"), eta=time.time() + 3600, id="a"))
        assert results.load(["a"]) == [b"state"]

    def test_a_watch_is_told_of_what_a_turn_settles(self, child: Child, results: ResultStore) -> None:
        teller = Teller()
        assert results.watch(teller).add(["a"]) == [None]
        child.send(message("a"))
        child.settle(Outcome(child.claim()[0].number, result=Result("a", b"done")))
        assert teller.next() == ("a", b"done")
        assert teller.is_silent()

    def test_results_of_large_and_many_turns_are_all_there(self, child: Child, results: ResultStore) -> None:
        ids = [f"id {n}" for n in range(300)]
        child.send(*map(message, ids))
        big = b"x" * 20_000
        child.settle(
            *(
                Outcome(claim.number, result=Result(name_of(claim.payload), claim.payload + big))
                for claim in child.claim_all()
            )
        )
        assert results.load(ids) == [envelope(task_id) + big for task_id in ids]
