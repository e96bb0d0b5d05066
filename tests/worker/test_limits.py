"""Rate limits of a node: each task has its moments, and all children go by the same page."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest

from celeriac import Celery
from celeriac.worker.limits import Limits
from services import start_worker

APPS = Path(__file__).parent.parent / "surface" / "apps"


@pytest.fixture
def limits() -> Limits:
    return Limits(["a", "b"])


def test_the_first_begins_and_the_others_get_moments_of_their_own(limits: Limits) -> None:
    assert limits.admit("a", 10, 1000.0) is None
    assert [limits.admit("a", 10, 1000.0) for _ in range(3)] == [1010.0, 1020.0, 1030.0]
    assert limits.admit("b", 10, 1000.0) is None


def test_who_comes_at_its_moment_or_a_little_late_begins(limits: Limits) -> None:
    assert [limits.admit("a", 10, 1000.0) for _ in range(3)] == [None, 1010.0, 1020.0]
    assert limits.admit("a", 10, 1010.2) is None
    assert limits.admit("a", 10, 1020.0) is None


def test_who_is_much_late_moves_what_follows(limits: Limits) -> None:
    assert [limits.admit("a", 10, 1000.0) for _ in range(2)] == [None, 1010.0]
    assert limits.admit("a", 10, 1015.0) is None
    assert limits.admit("a", 10, 1016.0) == 1025.0


def test_never_more_than_the_rate_whoever_comes_when(limits: Limits) -> None:
    waiting = [(1000.0 + n * 0.3, n) for n in range(200)]
    ran: list[float] = []
    looks = 0
    while waiting:
        waiting.sort()
        moment, number = waiting.pop(0)
        looks += 1
        put_off = limits.admit("a", 1.0, moment)
        if put_off is None:
            ran.append(moment)
        else:
            assert put_off > moment
            waiting.append((put_off, number))
    assert len(ran) == 200
    assert ran[-1] - ran[0] <= 200.0
    assert min(b - a for a, b in itertools.pairwise(ran)) >= 0.7
    assert looks < 4 * 200


def test_a_clock_that_was_set_back_stops_nobody(limits: Limits) -> None:
    assert limits.admit("a", 10, 5000.0) is None
    assert limits.admit("a", 10, 1000.0) is None
    assert limits.admit("a", 10, 1000.0) == 1010.0


def test_other_processes_see_the_same_page(limits: Limits) -> None:
    other = Limits(["a", "b"], os.dup(limits.descriptor))
    assert limits.admit("a", 10, 1000.0) is None
    assert other.admit("a", 10, 1000.0) == 1010.0
    child = os.fork()
    if not child:
        os._exit(limits.admit("a", 10, 1000.0) != 1020.0)
    assert os.waitpid(child, 0)[1] == 0
    other.close()
    limits.close()
    limits.close()


def test_a_task_that_was_declared_late_is_limited_too(limits: Limits) -> None:
    assert [limits.admit("late", 10, 1000.0) for _ in range(2)] == [None, 1010.0]


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_the_children_of_a_node_keep_one_limit(tmp_path: Path, start_method: str) -> None:
    """Ten tasks at five a second take 1.8 s on four children, and what stands behind them goes on."""
    ledger, store = tmp_path / "ledger", f"sqlite:///{tmp_path}/store.db"
    env = {"LEDGER": str(ledger), "STORE": store}
    worker = start_worker(
        "limited", APPS, "-c", "4", "-l", "INFO", "--pool-start-method", start_method, env=env
    )
    try:
        with Celery("sender", broker=store, backend=store) as sender:
            results = [sender.send_task("limited.slow") for _ in range(10)]
            free = sender.send_task("limited.free")
            worker.wait_for_line("ready")
            free_at = free.get(timeout=20)
            for result in results:
                result.get(timeout=20)
        moments = sorted(json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines())
        assert free_at < moments[2]
        assert 1.5 < moments[-1] - moments[0] < 1.8 + 10
        in_a_second = max(sum(a <= b < a + 1 for b in moments) for a in moments)
        assert in_a_second <= 6
    finally:
        worker.stop()
        print(worker.output)
