"""As many children as there is work for, between two numbers; only idle ones go."""

from __future__ import annotations

from pathlib import Path

import pytest

from celeriac.exceptions import TimeLimitExceeded
from celeriac.worker.autoscale import Autoscaler
from services import RedisServer
from stand import Stand, alive, family, lines, until


@pytest.mark.parametrize(
    ("size", "busy", "ready", "age", "change"),
    [
        (2, 2, 0, 0.0, 0),
        (2, 2, 1, 0.1, 1),
        (2, 2, 50, 0.1, 2),
        (4, 4, 50, 0.1, 4),
        (8, 8, 50, 0.1, 2),
        (10, 10, 50, 9.0, 0),
        (4, 3, 50, 0.1, 0),
        (4, 3, 50, 2.0, 4),
        (1, 0, 0, 0.0, 1),
        (12, 12, 50, 9.0, -2),
    ],
)
def test_it_grows_by_what_waits_and_by_who_is_busy(
    size: int, busy: int, ready: int, age: float, change: int
) -> None:
    assert Autoscaler(10, 2, keep=30).change(size, busy, ready, age, now=100.0) == change


def test_it_shrinks_to_what_was_needed_at_most_in_the_last_while() -> None:
    scaler = Autoscaler(10, 2, keep=30)
    assert scaler.change(8, 8, 0, 0.0, now=0) == 0
    assert scaler.change(8, 1, 0, 0.0, now=10) == 0
    assert scaler.change(8, 5, 0, 0.0, now=15) == 0
    assert scaler.change(8, 0, 0, 0.0, now=30) == 0
    assert scaler.change(8, 0, 0, 0.0, now=31) == -3
    assert scaler.change(5, 0, 0, 0.0, now=44) == 0
    assert scaler.change(5, 0, 0, 0.0, now=46) == -3
    assert scaler.change(2, 0, 0, 0.0, now=99) == 0


def test_a_minimum_of_none_keeps_one() -> None:
    scaler = Autoscaler(4, 0, keep=1)
    scaler.change(2, 0, 0, 0.0, now=0)
    assert scaler.change(2, 0, 0, 0.0, now=2) == -1
    assert scaler.change(1, 0, 0, 0.0, now=9) == 0


def test_WRK_5_a_worker_grows_under_load_and_shrinks_without_touching_what_runs(stand: Stand) -> None:
    stand.broker.pause("held")  # what waits there is work for nobody
    for _ in range(3):
        stand.send("f", queue="held")
    worker = stand.start("--autoscale", "3,1", "-Q", "celery,held", env={"AUTOSCALE_KEEPALIVE": "1"})
    assert "concurrency: {min=1, max=3} (prefork)" in worker.output
    assert len(family(worker)) == 1
    ((answer,),) = (reply.values() for reply in stand.client.control.autoscale("3", "1", reply=True) or ())  # type: ignore[arg-type]
    assert answer == {"ok": "autoscale now max=3 min=1"}, "of a client that has texts"
    gate, begun = stand.path("gate"), stand.path("begun")
    short = [stand.send("wait_for", str(gate), str(begun)) for _ in range(2)]
    last_gate = stand.path("gate")
    long = stand.send("wait_for", str(last_gate), str(begun))
    until(lambda: lines(begun) == ["begun"] * 3, what="three at a time")
    assert len(family(worker)) == 3
    (stats,) = (stand.client.control.inspect().stats() or {}).values()
    assert stats["autoscaler"] == {"max": 3, "min": 1, "current": 3, "qty": 3}
    gate.touch()
    assert [result.get(timeout=20) for result in short] == ["seen"] * 2
    until(lambda: len(family(worker)) == 1, what="shrinking")
    last_gate.touch()
    assert long.get(timeout=20) == "seen", "the one that stayed is the one that was busy"
    assert "exited with" not in worker.output


@pytest.mark.timeout(90)
def test_a_worker_that_scales_enforces_limits_beside_a_silent_store_and_scales_again(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    stand = Stand(own_redis.url, tmp_path)
    worker = stand.start("--autoscale", "2,1")
    try:
        begun = stand.path("begun")
        overrun = stand.send("wait_for", str(stand.path("gate")), str(begun), time_limit=2)
        until(lambda: lines(begun))
        (child,) = family(worker)
        own_redis.pause()
        until(lambda: not alive(child.pid), timeout=15, what="the end of a child that overran its limit")
        own_redis.resume()
        with pytest.raises(TimeLimitExceeded):
            overrun.get(timeout=30)
        gate = stand.path("gate")
        both = [stand.send("wait_for", str(gate), str(begun)) for _ in range(2)]
        until(lambda: len(lines(begun)) == 3, what="two at a time")
        gate.touch()
        assert [result.get(timeout=20) for result in both] == ["seen"] * 2
    finally:
        own_redis.resume()
        stand.close()
        print(worker.output)
