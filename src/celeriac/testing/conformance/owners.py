"""Owners, their nodes and leases: who may settle, who takes over, who is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from celeriac.exceptions import Fenced
from celeriac.message import LEFT_BEGUN, Claim, Depth, Fate, Outcome, Result
from celeriac.ports import ResultStore
from celeriac.testing.conformance.rig import (
    A_MOMENT,
    PATIENCE,
    Child,
    Opened,
    acks,
    all_of,
    message,
    name_of,
    until,
)


class Owners(Opened):
    """Nobody takes messages from the living, and the dead are heard no more."""

    def test_an_owner_that_nobody_made_known_is_fenced(self, child: Child) -> None:
        child.send(message("a"))
        with pytest.raises(Fenced) as fenced:
            child.broker.turn("stranger", (), 1)
        assert fenced.value.owner == "stranger"
        assert child.depth() == Depth(ready=1)

    def test_an_adopted_owner_is_fenced_and_nothing_of_it_is_accepted(
        self, hire: Callable[..., Child], results: ResultStore
    ) -> None:
        zombie, supervisor = hire("zombie"), hire("supervisor")
        zombie.send(message("a"), message("b"))
        (claim,) = zombie.claim()
        (adopted,) = supervisor.broker.adopt("zombie", "heir", "node")
        assert adopted == claim
        late = Outcome(claim.number, result=Result("a", b"late"), follow_ups=(message("follow-up"),))
        for want in (0, 1):
            with pytest.raises(Fenced) as fenced:
                zombie.turn(late, want=want, wait=PATIENCE)
            assert fenced.value.owner == "zombie"
        assert supervisor.depth() == Depth(ready=1, claimed=1)
        if self.one_store:
            assert not results.update(Result("a", b"on the way"), keep=lambda stored: False, owner="zombie")
            assert results.update(Result("b", b"on the way"), keep=lambda stored: False, owner="heir")
        assert results.load(["a"]) == [None]
        zombie.broker.dismiss("zombie")
        assert supervisor.depth() == Depth(ready=1, claimed=1)

    def test_what_an_owner_will_not_begin_goes_to_others_and_is_given_back_once(
        self, hire: Callable[..., Child], results: ResultStore
    ) -> None:
        stuck, other = hire("stuck"), hire("other")
        stuck.send(*map(message, "abcd"))
        a, b, c, d = stuck.claim(4)
        assert other.broker.relieve("stuck", a.number, c.number) == 2
        assert other.broker.relieve("stuck", a.number, c.number) == 0
        assert other.broker.relieve("nobody", 0, 9) == 0
        assert other.depth() == Depth(ready=2, claimed=2)
        assert other.claim_names(4) == ["b", "c"]
        stuck.turn(
            Outcome(a.number, result=Result("a", b"of the owner")),
            Outcome(b.number, Fate.GIVEN_BACK),
            Outcome(c.number, Fate.DEFERRED, eta=time.time() + 60),
            Outcome(d.number, Fate.GIVEN_BACK),
            want=0,
        )
        assert results.load(["a"]) == [b"of the owner"]
        assert stuck.claim_names(4) == ["d"]
        assert other.depth() == Depth(claimed=3)

    def test_an_owner_that_is_adopted_while_it_waits_claims_nothing(
        self, hire: Callable[..., Child], threads: ThreadPoolExecutor
    ) -> None:
        zombie, supervisor = hire("zombie"), hire("supervisor")
        waiting = threads.submit(zombie.claim, wait=2.0)
        time.sleep(A_MOMENT)
        supervisor.broker.adopt("zombie", "heir", "node")
        supervisor.send(message("a"))
        with suppress(Fenced):
            assert waiting.result(PATIENCE) == []
        assert supervisor.claim_names() == ["a"]

    def test_an_heir_settles_by_the_old_numbers_and_goes_on_above_them(
        self, hire: Callable[..., Child]
    ) -> None:
        child, supervisor = hire("child"), hire("supervisor")
        child.send(*map(message, "abcde"))
        claims = child.claim(want=4)
        child.settle(Outcome(claims[1].number), Outcome(claims[0].number, Fate.GIVEN_BACK))
        heir = supervisor.broker
        adopted = heir.adopt("child", "heir", "node")
        assert adopted == claims[2:]
        (given_back,) = heir.turn("heir", (), 1)
        assert name_of(given_back.payload) == "a"
        assert given_back.number > adopted[-1].number
        c, d = adopted
        heir.turn("heir", [Outcome(c.number, Fate.LOST), Outcome(d.number, Fate.DEAD, id="d")], 0)
        assert supervisor.depth() == Depth(ready=2, claimed=1, dead=1)
        (lost,) = heir.turn("heir", (), 1)
        assert (name_of(lost.payload), lost.deliveries) == ("c", 1)
        heir.dismiss("heir")
        assert supervisor.peek_names() == ["a", "c", "e"]

    def test_of_many_that_adopt_one_gets_the_claims(
        self, hire: Callable[..., Child], threads: ThreadPoolExecutor
    ) -> None:
        child = hire("child")
        child.send(*(message(str(n)) for n in range(20)))
        claims = child.claim(want=20)
        racers = [hire(f"racer {n}") for n in range(8)]
        start = threading.Barrier(len(racers))

        def adopt(racer: Child) -> list[Claim]:
            start.wait(PATIENCE)
            return racer.broker.adopt("child", f"heir {racer.owner}", "node")

        got = all_of(threads.submit(adopt, racer) for racer in racers)
        assert sorted(got, key=len) == [[]] * 7 + [claims]
        assert child.depth() == Depth(claimed=20)

    def test_adopting_an_owner_that_nobody_knows_gives_nothing(self, child: Child) -> None:
        assert child.broker.adopt("nobody", "heir", "node") == []

    def test_adopting_an_owner_without_claims_fences_it(self, hire: Callable[..., Child]) -> None:
        child, supervisor = hire("child"), hire("supervisor")
        assert supervisor.broker.adopt("child", "heir", "node") == []
        with pytest.raises(Fenced):
            child.claim()

    def test_a_dismissed_owner_gives_back_in_order_and_is_unknown(self, hire: Callable[..., Child]) -> None:
        leaving, staying = hire("leaving"), hire("staying")
        staying.send(*map(message, "abcd"))
        claims = leaving.claim(want=3)
        leaving.settle(Outcome(claims[1].number))
        leaving.broker.dismiss("leaving")
        with pytest.raises(Fenced):
            leaving.turn(Outcome(claims[0].number), want=0)
        again = staying.claim(want=9)
        assert [(name_of(claim.payload), claim.deliveries) for claim in again] == [
            ("a", 0),
            ("c", 0),
            ("d", 0),
        ]
        leaving.broker.dismiss("leaving")
        leaving.broker.dismiss("nobody")

    def test_what_a_dismissed_owner_had_begun_is_a_dead_letter_and_never_runs_again(
        self, hire: Callable[..., Child]
    ) -> None:
        leaving, staying = hire("leaving"), hire("staying")
        staying.send(*map(message, "abc"))
        a, b, _ = leaving.claim(want=3)
        leaving.settle(Outcome(a.number, Fate.BEGUN), Outcome(b.number, Fate.BEGUN))
        leaving.settle(Outcome(a.number))
        leaving.broker.dismiss("leaving")
        assert staying.depth() == Depth(ready=1, dead=1)
        (letter,) = staying.broker.letters(9)
        assert (name_of(letter.payload), letter.reason) == ("b", LEFT_BEGUN)
        assert staying.broker.replay([letter.id]) == 1
        assert [(name_of(c.payload), c.begun) for c in staying.claim(want=9)] == [("c", False), ("b", False)]

    def test_claims_stay_with_their_owner_when_its_broker_closes(self, hire: Callable[..., Child]) -> None:
        child, supervisor = hire("child"), hire("supervisor")
        child.send(message("a"))
        claims = child.claim()
        child.broker.close()
        assert supervisor.depth() == Depth(claimed=1)
        assert supervisor.broker.adopt("child", "heir", "node") == claims

    def test_a_beat_names_the_owners_of_nodes_whose_lease_ran_out(self, hire: Callable[..., Child]) -> None:
        living = hire("living", node="here")
        hire("dead 1", node="there", lease=0.05)
        hire("dead 2", node="there", lease=0.05)
        hire("other", node="elsewhere", lease=30.0)
        until(lambda: sorted(living.broker.beat("here", 30.0)) == ["dead 1", "dead 2"])
        living.broker.adopt("dead 1", "heir", "here")
        assert living.broker.beat("here", 30.0) == ["dead 2"]
        living.broker.adopt("dead 2", "heir 2", "here")
        assert living.broker.beat("here", 30.0) == []

    def test_a_beat_that_says_who_lives_names_the_others_of_its_node(
        self, hire: Callable[..., Child]
    ) -> None:
        living = hire("living", node="here")
        hire("left", node="here")
        hire("other", node="elsewhere")
        assert living.broker.beat("here", 30.0, ["living"]) == ["left"]
        assert living.broker.beat("here", 30.0, ["living", "left"]) == []
        assert living.broker.beat("here", 30.0) == []

    def test_an_heir_belongs_to_the_node_that_adopted(self, hire: Callable[..., Child]) -> None:
        child, saviour = hire("child", node="dying", lease=0.05), hire("saviour", node="short", lease=30.0)
        child.send(message("a"))
        child.claim()
        witness = hire("witness", node="witness")
        until(lambda: witness.broker.beat("witness", 30.0) == ["child"])
        assert len(saviour.broker.adopt("child", "heir", "short")) == 1
        assert witness.broker.beat("witness", 30.0) == []
        saviour.broker.beat("short", 0.05)
        until(lambda: sorted(witness.broker.beat("witness", 30.0)) == ["heir", "saviour"])

    def test_beats_keep_a_node_alive(self, hire: Callable[..., Child]) -> None:
        living, other = hire("living", node="living", lease=0.4), hire("other", node="other")
        start = time.monotonic()
        while time.monotonic() < start + 0.6:
            living.broker.beat("living", 0.4)
            assert other.broker.beat("other", 30.0) == []
            time.sleep(A_MOMENT)

    def test_a_late_beat_keeps_owners_that_nobody_adopted(self, hire: Callable[..., Child]) -> None:
        late, other = hire("late", node="late", lease=0.05), hire("other", node="other")
        late.send(message("a"))
        claims = late.claim()
        until(lambda: other.broker.beat("other", 30.0) == ["late"])
        assert late.broker.beat("late", 30.0) == []
        assert other.broker.beat("other", 30.0) == []
        late.settle(*acks(claims))
        assert late.depth() == Depth()

    def test_a_node_that_was_late_itself_gives_the_others_one_more_lease(
        self, hire: Callable[..., Child]
    ) -> None:
        # Long enough that a busy machine does not outlast it between two lines.
        late, other = hire("late", node="late", lease=0.5), hire("other", node="other", lease=0.5)
        witness = hire("witness", node="witness")
        until(lambda: sorted(witness.broker.beat("witness", 30.0)) == ["late", "other"])
        assert late.broker.beat("late", 30.0) == []
        assert witness.broker.beat("witness", 30.0) == []
        other.broker.beat("other", 0.05)
        until(lambda: witness.broker.beat("witness", 30.0) == ["other"])

    def test_a_node_that_missed_beats_judges_nobody_though_its_lease_has_not_run_out(
        self, hire: Callable[..., Child]
    ) -> None:
        # The store was away for less than a lease, and the others' last beats were a little older than ours.
        hire("late", node="late", lease=0.3)
        other, hired = hire("other", node="other", lease=0.9), time.monotonic()
        witness = hire("witness", node="witness")
        until(lambda: time.monotonic() > hired + 0.65)
        assert other.broker.beat("other", 0.9) == []
        assert witness.broker.beat("witness", 30.0) == []

    def test_nobody_takes_messages_from_a_node_that_is_merely_late(self, hire: Callable[..., Child]) -> None:
        late, other = hire("late", node="late", lease=0.05), hire("other", node="other")
        late.send(message("a"))
        (claim,) = late.claim()
        until(lambda: other.broker.beat("other", 30.0) == ["late"])
        assert other.claim_names() == []
        late.settle(Outcome(claim.number))
        assert late.depth() == Depth()

    def test_a_dismissed_owner_is_not_named_by_a_beat(self, hire: Callable[..., Child]) -> None:
        leaving, other = hire("leaving", node="leaving", lease=0.05), hire("other", node="other")
        until(lambda: other.broker.beat("other", 30.0) == ["leaving"])
        leaving.broker.dismiss("leaving")
        assert other.broker.beat("other", 30.0) == []
