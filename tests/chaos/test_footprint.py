"""Rows 6 and 9: children come and go without a stall, and what a worker takes it gives back."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter

import psutil
import pytest

from celeriac.message import Message
from chaos.stage import Opened, RedisStore, Stage, kill, until
from chaos.trials import LASTING, POOLS, connections

#: Connections to Redis that any process may hold.
MOST_CONNECTIONS = 4


@pytest.mark.parametrize(("method", "count"), [("fork", 60), ("spawn", 6)])
def test_children_of_one_task_each_never_stall_whatever_they_run(
    opened: Opened, method: str, count: int
) -> None:
    stage = opened("redis")
    worker = stage.start_worker(
        *("-c", "2", "--max-tasks-per-child", "1", "--pool-start-method", method), CHAOS_CHATTER="1"
    )
    dice = random.Random(6)
    for number in range(2):
        stage.send(f"heavy{number}", "x" * 8_000_000, task="heavy")
    for number in range(count):
        stage.send(f"t{number}", task=dice.choice(["work", "awork", "program", "family"]))
    for _ in range(3):
        time.sleep(dice.uniform(0.1, 0.4))
        for victim in stage.children(worker)[:1]:
            kill(victim)
    stage.wait_until_done(40)
    stage.check_all_ran()
    begins = sorted(entry.time for entry in stage.ledger.entries if entry.event == "begin")
    assert max(after - before for before, after in itertools.pairwise(begins)) < 15.0


def test_no_process_holds_more_than_four_connections_however_busy_it_is(opened: Opened) -> None:
    stage = opened("redis")
    for pool in POOLS:
        stage.start_worker("-P", pool, "-c", "4", ready=False)
    for worker in stage.workers:
        worker.wait_for_line(r" ready\.")
    for number in range(300):
        stage.send(f"t{number}", 0.02)
    most: Counter[str] = Counter()
    busy = True
    while busy:
        for worker in stage.workers:
            for pid in (worker.pid, *stage.consumers(worker)):
                name = f"{stage.own_queue(worker)} {pid}"
                most[name] = max(most[name], connections(pid, stage.store.proxy.port))
        busy = bool(stage.check_the_law().depth.ready)
    stage.wait_until_done(20)
    assert max(most.values()) <= MOST_CONNECTIONS, most


def test_keys_go_back_to_what_they_were_after_many_restarts_and_kills(opened: Opened) -> None:
    # A busy machine may keep a supervisor from its beat for a second, and a late one forgets nobody.
    stage = opened("redis", lease=2.0)
    for number in range(4):
        worker = stage.start_worker("-c", "2")
        stage.send(f"t{number}")
        stage.wait_until_done(10)
        if number % 2:
            worker.kill()
        else:
            worker.stop()
    keeper = stage.start_worker("-c", "1")
    stage.send("last")
    stage.wait_until_done(10)
    owners, nodes = ("HLEN", "celeriac:owners"), ("ZCARD", "celeriac:nodes")
    assert isinstance(stage.store, RedisStore)
    command = stage.store.server.command
    until(lambda: command(*owners) == ":1" and command(*nodes) == ":1", "the dead are forgotten", 20)
    keeper.stop()
    assert (command(*owners), command(*nodes)) == (":0", ":0")
    assert lasting_keys(stage) <= LASTING


def lasting_keys(stage: Stage) -> set[str]:
    """The keys that have no TTL."""
    assert isinstance(stage.store, RedisStore)
    call = stage.store.call
    return {key.decode() for key in call("KEYS", "*") if call("PTTL", key) == -1}


def test_delayed_messages_wait_in_the_store_and_hold_up_nobody(opened: Opened) -> None:
    stage = opened("redis")
    worker = stage.start_worker("-c", "1")
    stage.send("warm")
    stage.wait_until_done(10)
    child = psutil.Process(stage.children(worker)[0])
    before = child.memory_info().rss
    due = time.time() + 3600
    for part in range(20):
        stage.app().broker.publish(
            [Message(f"d{part}.{number}", "celery", b"x" * 500, eta=due) for number in range(1000)]
        )
    began = time.monotonic()
    for number in range(10):
        stage.app().send_task("chaos_app.work", (f"now{number}",), task_id=f"now{number}")
    until(lambda: stage.ledger.has_ended("now9"), "what is due runs", pause=0.002)
    assert time.monotonic() - began < 10.0
    assert child.memory_info().rss - before < 10 << 20
    assert stage.store.census().depth.delayed == 20_000
