"""Rows 5 and 10: workers come and go, new tasks are sent before all know them, tasks raise anything."""

from __future__ import annotations

import random
import signal
import sys
import time

import pytest

from celeriac import states
from chaos.hostile import HOSTILE
from chaos.stage import Opened, until
from chaos.storm import BACK_WHEN_BUSY, Storm


def test_a_rolling_restart_under_load_loses_and_doubles_nothing_and_delays_little(opened: Opened) -> None:
    stage = opened("redis")
    for _ in range(3):
        stage.start_worker("-c", "2")
    storm = Storm(stage, seed=5, rate=100, back=BACK_WHEN_BUSY)
    storm.begin()
    for worker in list(stage.workers):
        stage.replace(worker)
        worker.signal(15)
        assert worker.wait(10) == 0
        time.sleep(0.3)
    storm.end()
    assert stage.reruns() == 0
    assert storm.usual_wait() < 2.0


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "asyncio", "solo"])
def test_one_term_ends_a_worker_in_its_grace_and_what_is_not_finished_goes_back_at_once(
    opened: Opened, pool: str
) -> None:
    stage = opened("redis")
    worker = stage.start_worker("-P", pool, "-c", "4", CHAOS_SOFT_SHUTDOWN="1.5", REMAP_SIGTERM="SIGQUIT")
    short = ["short"] if pool == "solo" else ["short", "coroutine"]
    long = [] if pool == "solo" else ["long", "long-coroutine"]
    stage.send("delayed", countdown=600)
    stage.send("short", 0.8)
    if pool != "solo":
        stage.send("coroutine", 0.8, task="awork")
        stage.send("long", 120)
        stage.send("long-coroutine", 120, task="awork")
    until(lambda: stage.ledger.has_begun(*short, *long), "all run")
    if pool == "solo":
        stage.send("waits", 120)
    worker.signal(signal.SIGTERM)
    began = time.monotonic()
    code = worker.wait(10)
    assert time.monotonic() - began < 1.5 + 5.0
    depth = stage.check_the_law().depth
    assert stage.done == set(short)
    assert (depth.ready, depth.delayed, depth.claimed) == (len(long) or 1, 1, 0)
    assert code == (1 if long else 0), "0 where all that ran was finished"


def test_a_task_that_only_the_new_release_knows_waits_for_it(opened: Opened) -> None:
    stage = opened("redis")
    old = stage.start_worker("-c", "1", CHAOS_UNKNOWN_DELAY="0.5")
    for number in range(5):
        stage.send(f"new{number}", task="newcomer")
        stage.send(f"t{number}")

    def is_parted() -> bool:
        return stage.check_the_law().depth.delayed == 5 == len(stage.done)

    until(is_parted, "what is known runs, and what is unknown is put aside")
    stage.start_worker("-c", "1", CHAOS_NEW_TASKS="1")
    stage.wait_until_done(30)
    stage.check_all_ran()
    assert stage.reruns() == 0
    assert old.running


def test_two_hundred_hostile_exceptions_harm_neither_worker_nor_reader(opened: Opened) -> None:
    stage = opened("redis")
    worker = stage.start_worker("-c", "2")
    children = set(stage.children(worker))
    app = stage.app()
    before = set(sys.modules)
    sent = [app.send_task("chaos_app.fail", (number,)) for number in range(len(HOSTILE))]
    for number, result in enumerate(sent):
        with pytest.raises(Exception) as caught:
            result.get(timeout=30)
        assert type(caught.value).__name__ == f"Hostile{number}", f"{number % 10} {type(caught.value)}"
        assert result.state == states.FAILURE
        assert "hostile" in str(result.traceback).lower()
    assert set(stage.children(worker)) == children
    assert not any(name.startswith("nowhere") for name in set(sys.modules) - before)
    assert random.choice(HOSTILE).__module__ not in sys.modules
