"""Row 2: what lives runs once, however long it takes and however often the connection breaks meanwhile."""

from __future__ import annotations

import threading
import time

from chaos.stage import Opened, RedisStore, frozen, group, until

#: Seconds of a lease, and of tasks that take many of them.
LEASE, LONG = 1.0, 6.0


def test_long_tasks_and_long_delays_run_once_while_their_connection_breaks_all_the_time(
    opened: Opened,
) -> None:
    stage = opened("redis", lease=LEASE)
    assert isinstance(stage.store, RedisStore)
    for pool in ("prefork", "asyncio"):
        stage.start_worker("-P", pool, "-c", "4", ready=False)
    for worker in stage.workers:
        worker.wait_for_line(r" ready\.")
    for number in range(2):
        stage.send(f"grip{number}", LONG, task="grip")
        stage.send(f"sleeper{number}", LONG)
        stage.send(f"coroutine{number}", LONG, task="awork")
    due: dict[str, float] = {}
    for number in range(100):
        due[f"d{number}"] = time.time() + 5 * LEASE
        stage.send(f"d{number}", countdown=5 * LEASE)
    proxy, over = stage.store.proxy, threading.Event()

    def cut_all_the_time() -> None:
        while not over.wait(0.05):
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
    assert max(late.values()) < 2.0, "a delay is not prolonged by broken connections"


def test_a_zombies_late_result_and_acknowledgement_are_refused(opened: Opened) -> None:
    stage = opened("redis", lease=LEASE)
    zombie = stage.start_worker("-c", "1")
    stage.send("twice", 0.5)
    until(lambda: stage.ledger.read() or stage.ledger.begins["twice"], "it has begun")
    with frozen(*group(zombie)):
        other = stage.start_worker("-c", "1")
        until(lambda: stage.ledger.read() or stage.ledger.ends["twice"], "the other one runs it")
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
