"""Tasks that are revoked: whoever claims their messages later knows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.message import Claim, Depth, Fate, Message, Outcome
from celeriac.ports import Broker
from celeriac.testing.conformance.rig import A_MOMENT, ODD_NAMES, PATIENCE, Child, Opened, acks, until
from celeriac.wire.packing import pack
from celeriac.wire.task import unpack

#: Seconds that no test outlives.
LONG = 600.0


class Revokes(Opened):
    """A revoke is kept, and found by the turn that claims."""

    def test_nothing_is_revoked_at_first(self, child: Child) -> None:
        assert "a" not in child.broker.revoked
        child.send(call("a"))
        assert refused(child, child.claim()) == []

    def test_a_revoke_made_before_any_worker_came_is_obeyed(
        self, broker: Broker, hire: Callable[..., Child]
    ) -> None:
        broker.publish([call("a"), call("b"), call("c")])
        broker.revoke(["a", "c", "unknown"], LONG)
        broker.close()
        child = hire()
        claims = child.claim(want=3)
        assert refused(child, claims) == ["a", "c"]
        child.settle(*acks(claims))
        assert child.depth() == Depth()

    def test_a_revoke_is_obeyed_by_workers_that_run(self, hire: Callable[..., Child]) -> None:
        first, second = hire("first"), hire("second")
        first.send(*map(call, "abcd"))
        assert refused(first, first.claim()) == []
        first.broker.revoke(["b", "d"], LONG)
        assert refused(second, second.claim(want=2)) == ["b"]
        assert refused(first, first.claim()) == ["d"]

    def test_a_revoke_comes_before_its_message(self, child: Child) -> None:
        child.broker.revoke(["a"], LONG)
        child.send(call("a"))
        assert refused(child, child.claim()) == ["a"]

    def test_what_waits_behind_others_is_revoked_when_it_comes_back(self, child: Child) -> None:
        child.send(call("a"), call("b"))
        b = child.claim(want=2)[1]
        child.settle(Outcome(b.number, Fate.GIVEN_BACK))
        child.broker.revoke(["b"], LONG)
        assert refused(child, child.claim()) == ["b"]

    def test_a_waiting_turn_and_a_revoke_do_not_disturb_each_other(
        self, child: Child, threads: ThreadPoolExecutor
    ) -> None:
        waiting = threads.submit(child.claim, wait=PATIENCE)
        time.sleep(A_MOMENT)
        child.broker.revoke(["a"], LONG)
        child.send(call("a"))
        assert refused(child, waiting.result(PATIENCE)) == ["a"]

    def test_it_says_which_tasks_may_have_begun(self, hire: Callable[..., Child]) -> None:
        child, other = hire("child"), hire("other")
        child.send(*map(call, "abcde"), call("later", eta=time.time() + LONG))
        done, back, held = child.claim(want=3)
        (also_held,) = other.claim()
        child.settle(Outcome(done.number), Outcome(back.number, Fate.GIVEN_BACK))
        named = [id_of(held), id_of(also_held)]
        everything = ["a", "b", "c", "d", "e", "later", "unknown"]
        assert sorted(other.broker.revoke(everything, LONG)) == sorted(named)
        assert other.broker.revoke([], LONG) == []

    def test_it_ends_with_its_time(self, child: Child) -> None:
        child.broker.revoke(["a"], 0.03)
        until(lambda: "a" not in child.broker.revoked)
        child.broker.revoke(["b"], LONG)
        child.send(call("a"), call("b"))
        assert refused(child, child.claim(want=2)) == ["b"]

    def test_of_two_times_the_longer_counts(self, child: Child) -> None:
        child.broker.revoke(["a", "b"], LONG)
        child.broker.revoke(["a"], 0.001)
        time.sleep(A_MOMENT)
        child.send(call("a"))
        assert refused(child, child.claim()) == ["a"]

    def test_what_is_delayed_beyond_that_time_is_still_revoked_when_it_is_due(self, child: Child) -> None:
        child.send(call("a", eta=time.time() + 0.6))
        child.broker.revoke(["a"], 0.5)
        assert refused(child, child.claim(wait=PATIENCE)) == ["a"]

    def test_a_node_forgets_what_is_over(self, child: Child) -> None:
        child.broker.revoke(["a"], 0.001)
        time.sleep(A_MOMENT)
        child.broker.beat("node", 30.0)
        assert "a" not in child.broker.revoked

    def test_ten_thousand_are_revoked_and_none_is_forgotten(self, child: Child) -> None:
        child.broker.revoke(["first"], LONG)
        many = [f"task-{n}" for n in range(10_000)]
        child.broker.revoke(many, LONG)
        child.send(call("first"), *map(call, many[::20]), call("other"))
        claims: list[Claim] = []
        revoked: list[str] = []
        while more := child.claim(want=1000):
            revoked += refused(child, more)
            claims += more
        assert len(claims) == 502
        assert sorted(revoked) == sorted(["first", *many[::20]])

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_any_text_may_be_an_id(self, child: Child, name: str) -> None:
        child.broker.revoke([name, "x"], LONG)
        child.send(call(name), call("other"))
        assert refused(child, child.claim(want=2)) == [name]

    @pytest.mark.parametrize(
        "envelope",
        [
            b"no envelope at all",
            b'{"correlation_id": "a"}',
            b'{"id": "b", "task": {"id": "a"}}',
            b'{"id": 7}',
            b'{"id": "\xff"}',
            b'{"id": "\\u0061"}',
            b'{"body": "\\"id\\": \\"b\\"", "id": "b"}',
        ],
    )
    def test_an_envelope_that_hides_its_id_hides_no_revoke(self, child: Child, envelope: bytes) -> None:
        child.broker.revoke(["a"], LONG)
        child.send(Message("a", "celery", envelope))
        assert [claim.payload for claim in child.claim()] == [envelope]
        assert "a" in child.broker.revoked
        assert "c" not in child.broker.revoked


def call(name: str, eta: float | None = None) -> Message:
    """A true task message, which shows its id."""
    return Message(name, "celery", pack(name="task", id=name, args=(), kwargs={}, queue="celery"), eta=eta)


def id_of(claim: Claim) -> str:
    return unpack(claim.payload).id


def refused(child: Child, claims: list[Claim]) -> list[str]:
    """The ids of those that must not run, asked as a worker asks."""
    return [id for claim in claims if (id := id_of(claim)) in child.broker.revoked]
