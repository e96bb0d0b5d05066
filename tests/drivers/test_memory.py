"""What is the memory driver's own: names, clocks that are passed in, threads that end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from celeriac.drivers.memory.broker import MemoryBroker
from celeriac.drivers.memory.results import MemoryResults
from celeriac.drivers.memory.store import MemoryStore
from celeriac.drivers.opening import open_broker, open_results
from celeriac.drivers.paired import Paired
from celeriac.exceptions import Fenced, OperationalError
from celeriac.message import Claim, Count, Depth, Fate, Message, Outcome, Result


class Clock:
    """A time that passes only when a test says so."""

    def __init__(self, time: float = 1_000.0) -> None:
        self.time = time

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def wall() -> Clock:
    return Clock(1_700_000_000.0)


@pytest.fixture
def ticks() -> Clock:
    return Clock()


@pytest.fixture
def store(wall: Clock, ticks: Clock) -> MemoryStore:
    return MemoryStore(now=wall, ticks=ticks)


@pytest.fixture
def broker(store: MemoryStore) -> MemoryBroker:
    broker = MemoryBroker(store)
    broker.consume(["celery"])
    broker.enlist("child", "node", 30.0)
    return broker


def test_brokers_of_one_name_share_a_store_and_other_names_do_not() -> None:
    name = uuid4().hex
    one, same, other = (
        open_broker(f"memory://{name}"),
        open_broker(f"memory://{name}"),
        open_broker("memory://"),
    )
    one.publish([Message("a", name, b"a")])
    assert same.peek(name, 9) == [b"a"]
    assert other.peek(name, 9) == []


def test_messages_and_results_outlive_the_broker_that_sent_them() -> None:
    url = f"memory://{uuid4().hex}"
    broker, results = open_broker(url), open_results(url)
    broker.publish([Message("a", "celery", b"a")])
    results.save([Result("a", b"done")])
    broker.close()
    results.close()
    assert open_broker(url).queues() == ["celery"]
    assert open_results(url).load(["a"]) == [b"done"]


def test_a_lease_runs_by_the_clock_that_is_passed_in(broker: MemoryBroker, ticks: Clock) -> None:
    ticks.time += 29.9
    assert broker.beat("other", 30.0) == []
    ticks.time += 0.1
    assert broker.beat("other", 30.0) == ["child"]
    assert broker.beat("node", 30.0) == []
    assert broker.beat("other", 30.0) == []


def test_an_eta_counts_by_the_wall_clock_also_when_that_is_set_back(
    broker: MemoryBroker, wall: Clock
) -> None:
    broker.publish([Message("a", "celery", b"a", eta=wall.time + 10)])
    wall.time -= 3600
    assert broker.turn("child", (), 1) == []
    wall.time += 3610
    assert broker.turn("child", (), 1) == [Claim(1, "celery", b"a")]


def test_leases_do_not_mind_a_wall_clock_that_is_set_back(
    broker: MemoryBroker, wall: Clock, ticks: Clock
) -> None:
    wall.time -= 1_000_000
    ticks.time += 30
    assert broker.beat("other", 30.0) == ["child"]


def test_results_end_by_the_clock_and_take_their_memory_along(store: MemoryStore, ticks: Clock) -> None:
    results = MemoryResults(store)
    results.save([Result("a", b"1", ttl=10.0), Result("b", b"2", ttl=20.0), Result("c", b"3")])
    ticks.time += 10
    assert results.load(["a", "b", "c"]) == [None, b"2", b"3"]
    results.save([Result("b", b"4", ttl=100.0)])
    ticks.time += 10
    assert results.load(["a", "b", "c"]) == [None, b"4", b"3"]


def test_a_chord_whose_time_is_over_is_forgotten_by_the_clock(store: MemoryStore, ticks: Clock) -> None:
    def counts(chord: str, index: int) -> int:
        body = (Message("body", "celery", b"body"),)
        item = b'[1, "%d", "SUCCESS", 1]' % index
        return len(store.chords.count(Count(chord, str(index), "root", index, 2, item, body, ttl=0.4)))

    assert counts("early", 0) + counts("late", 0) == 0
    ticks.time += 0.5
    assert counts("early", 1) == 0  # it begins anew, before anybody has looked at all of them
    assert counts("early", 0) == 1
    ticks.time += 1.0
    assert counts("another", 0) == 0
    assert store.chords.unfinished() == 1


def test_a_letter_tells_when_its_message_died(broker: MemoryBroker, wall: Clock) -> None:
    broker.publish([Message("a", "celery", b"a")])
    (claim,) = broker.turn("child", (), 1)
    broker.turn("child", [Outcome(claim.number, Fate.DEAD, id="a", reason="gave up")], 0)
    assert broker.letters(1)[0].died_at == wall.time


def test_one_message_rings_only_one_of_those_that_wait() -> None:
    store = MemoryStore()
    brokers = [MemoryBroker(store) for _ in range(4)]
    for n, broker in enumerate(brokers):
        broker.consume(["celery"])
        broker.enlist(f"child {n}", "node", 30.0)
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(broker.turn, f"child {n}", (), 1, 10.0) for n, broker in enumerate(brokers)]
        while len(store.waiting) < 4:
            threading.Event().wait(0.001)
        brokers[0].publish([Message("a", "celery", b"a")])
        assert len(store.waiting) == 3
        for broker in brokers:
            broker.wake()
        claims = [future.result(10.0) for future in waiting]
    assert sorted(map(len, claims)) == [0, 0, 0, 1]


def test_a_waiter_that_is_fenced_passes_its_ring_on() -> None:
    store = MemoryStore()
    first, second = MemoryBroker(store), MemoryBroker(store)
    for name, broker in (("first", first), ("second", second)):
        broker.consume(["celery"])
        broker.enlist(name, "node", 30.0)
    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(first.turn, "first", (), 1, 10.0)
        while len(store.waiting) < 1:
            threading.Event().wait(0.001)
        other = threads.submit(second.turn, "second", (), 1, 10.0)
        while len(store.waiting) < 2:
            threading.Event().wait(0.001)
        with store.lock:  # both happen before the first can look
            store.add([Message("a", "celery", b"a")])
            store.adopt("first", "heir", "node")
        assert [claim.payload for claim in other.result(5.0)] == [b"a"]
        with pytest.raises(Fenced):
            one.result(5.0)


def test_closing_ends_a_wait_of_another_thread() -> None:
    broker = open_broker(f"memory://{uuid4().hex}")
    broker.consume(["celery"])
    broker.enlist("child", "node", 30.0)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(broker.turn, "child", (), 1, 10.0)
        broker.close()
        with pytest.raises(OperationalError):
            waiting.result(5.0)


def test_a_watch_goes_on_after_what_it_told_raised(caplog: pytest.LogCaptureFixture) -> None:
    results = open_results(f"memory://{uuid4().hex}")
    told = threading.Event()

    def tell(task_id: str, payload: bytes) -> None:
        if payload == b"bad":
            raise ValueError("not this one")
        told.set()

    results.watch(tell).add(["a"])
    results.save([Result("a", b"bad")])
    results.save([Result("a", b"good")])
    assert told.wait(5.0)
    assert "Telling of the result of a failed" in caplog.text
    results.close()


def test_a_closed_store_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    results = open_results(f"memory://{uuid4().hex}")
    for _ in range(3):
        results.watch(lambda *_: None).add(["a"])
    assert threading.active_count() == before + 3
    results.close()
    assert threading.active_count() == before


def test_adopting_into_an_owner_with_claims_of_the_same_numbers_loses_none(broker: MemoryBroker) -> None:
    broker.enlist("other", "node", 30.0)
    broker.publish([Message("a", "celery", b"a"), Message("b", "celery", b"b")])
    broker.turn("child", (), 1)
    broker.turn("other", (), 1)
    with pytest.raises(ValueError, match="adopt under a new name"):
        broker.adopt("child", "other", "node")
    assert broker.depth(["celery"]) == {"celery": Depth(claimed=2)}
    assert broker.turn("child", [Outcome(1)], 0) == []


# --- paired: what is its own --------------------------------------------------------------------------------


class Breaking(MemoryResults):
    """A result store that cannot be reached for a while."""

    broken = True

    def save(self, results) -> None:  # type: ignore[no-untyped-def]
        if self.broken:
            raise OperationalError("the result store is away")
        super().save(results)


def test_nothing_is_acknowledged_while_results_cannot_be_saved(broker: MemoryBroker) -> None:
    results = Breaking(MemoryStore())
    paired = Paired(broker, results)
    paired.enlist("owner", "node", 30.0)
    paired.publish([Message("a", "celery", b"a")])
    (claim,) = paired.turn("owner", (), 1)
    outcome = Outcome(claim.number, result=Result("a", b"done"), follow_ups=(Message("b", "celery", b"b"),))
    with pytest.raises(OperationalError):
        paired.turn("owner", [outcome], 1)
    assert paired.depth(["celery"]) == {"celery": Depth(claimed=1)}
    results.broken = False
    assert [claim.payload for claim in paired.turn("owner", [outcome], 1)] == [b"b"]
    assert results.load(["a"]) == [b"done"]


def test_closing_a_pair_closes_both() -> None:
    store = MemoryStore()
    broker, results = MemoryBroker(store), MemoryResults(store)
    paired = Paired(broker, results)
    paired.close()
    paired.close()
    with pytest.raises(OperationalError):
        broker.queues()
    with pytest.raises(OperationalError):
        results.load(["a"])
