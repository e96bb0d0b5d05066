"""Row 2: what lives runs once, however long it takes and however often the connection breaks meanwhile."""

from __future__ import annotations

import threading
import time

import pytest

from celeriac.drivers.opening import open_broker
from celeriac.drivers.redis.address import parse
from celeriac.exceptions import OperationalError
from celeriac.message import Depth, Message, Outcome, Result
from chaos.stage import Opened, RedisStore, frozen, group, until
from proxy import Cut, Proxy

#: Seconds of a lease, and of tasks that take many of them.
LEASE, LONG = 2.0, 6.0


def test_long_tasks_and_long_delays_run_once_while_their_connection_breaks_all_the_time(
    opened: Opened,
) -> None:
    stage = opened("redis", lease=LEASE)
    assert isinstance(stage.store, RedisStore)
    for pool in ("prefork", "asyncio"):
        stage.start_worker("-P", pool, "-c", "4", ready=False)
    for worker in stage.workers:
        worker.wait_for_line(r" ready\.")
    stage.send("grip", LONG, task="grip")
    for number in range(2):
        stage.send(f"sleeper{number}", LONG)
        stage.send(f"coroutine{number}", LONG, task="awork")
    due: dict[str, float] = {}
    for number in range(100):
        due[f"d{number}"] = time.time() + 2.5 * LEASE
        stage.send(f"d{number}", countdown=2.5 * LEASE)
    store, proxy, over = stage.store, stage.store.proxy, threading.Event()

    def cut_all_the_time() -> None:
        while not over.wait(0.05):
            # Who reaches its store not even once in a lease loses it, as it must: on a machine that is busy
            # with other things that may take its time.
            if store.shortest_lease() > LEASE / 2:
                proxy.reset()

    cutter = threading.Thread(target=cut_all_the_time)
    cutter.start()
    try:
        began = time.monotonic()
        while time.monotonic() - began < LONG - 0.5:
            stage.check_the_law()
            time.sleep(0.5)
    finally:
        over.set()
        cutter.join()
    assert proxy.cuts > 30
    stage.wait_until_done(20)
    stage.check_all_ran()
    assert set(stage.ledger.begins.values()) == {1}
    late = {entry.word: entry.time - due[entry.word] for entry in stage.ledger.entries
            if entry.event == "begin" and entry.word in due}  # fmt: skip
    assert min(late.values()) >= -0.01
    assert max(late.values()) < 5.0, "a delay is not prolonged by broken connections"


def test_a_zombies_late_result_and_acknowledgement_are_refused(opened: Opened) -> None:
    stage = opened("redis", lease=LEASE)
    zombie = stage.start_worker("-c", "1")
    stage.send("twice", task="held")
    until(lambda: stage.ledger.has_begun("twice"), "it has begun")
    with frozen(*group(zombie)):
        other = stage.start_worker("-c", "1")
        stage.open_gate()
        until(lambda: stage.ledger.has_ended("twice"), "the other one runs it")
        until(lambda: stage.check_the_law().depth.claimed == 0, "it is settled")
        assert "twice" in stage.done
    # The law would see the second result as one too many, and a second settling too.
    zombie.wait_for_line("outcomes of .* are refused")
    assert "Restoring 1 unacknowledged" in other.output
    stage.send("after")
    stage.wait_until_done(10)
    stage.everyone_consumes(time.time(), 5)
    assert stage.check_the_law().done == {}
    assert stage.ledger.begins["twice"] == 2


def test_a_claim_of_a_late_answer_is_not_forgotten_when_the_next_exchange_fails_too(opened: Opened) -> None:
    stage = opened("redis")
    sender = stage.app().broker
    sender.publish([Message("a", "celery", b"{}"), Message("b", "celery", b"{}")])
    with Proxy(parse(stage.store.url).port) as wire:
        broker = open_broker(wire.url, wire.url)
        broker.consume(["celery"])
        broker.enlist("owner", "node", 30.0)
        (first,) = broker.turn("owner", [], 1)
        unheard = wire.break_at(Cut.BEFORE_REPLY, b"EVALSHA")
        with pytest.raises(OperationalError):
            broker.turn("owner", [], 1)
        assert unheard.is_set()
        lost = wire.break_at(Cut.BEFORE_REQUEST, b"the result")
        outcomes = [Outcome(first.number, result=Result("a", b"the result"))]
        with pytest.raises(OperationalError):
            broker.turn("owner", outcomes, 1)
        assert lost.is_set()
        (second,) = broker.turn("owner", outcomes, 1)
        assert second.number == first.number + 1
        assert broker.turn("owner", [Outcome(second.number)], 1) == []
        broker.close()
    assert sender.depth(["celery"])["celery"] == Depth()
