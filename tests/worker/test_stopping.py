"""A worker that is told to stop does so in order: nothing is lost, counted, or left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from celeriac import states
from celeriac.message import Depth
from celeriac.wire.task import unpack
from conftest import demand
from services import Program, RedisServer
from stand import POOLS, Stand, alive, family, lines, until

WARM = "worker: Warm shutdown (MainProcess)"
COLD = "worker: Cold shutdown (MainProcess)"
PRESS_AGAIN = "worker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!"


@pytest.fixture
def stand(every_store: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    """One store for each test, in which no worker may leave a trace: neither a socket nor a name."""
    with Stand(every_store, tmp_path) as stand:
        yield stand
    assert not list(tmp_path.glob("*-bells/*"))
    if every_store.startswith("redis"):
        assert request.getfixturevalue("redis_server").command("HLEN", "celeriac:owners") == ":0"


pools = pytest.mark.parametrize("pool", POOLS)


@pools
def test_an_idle_worker_stops_at_once_and_leaves_nothing(stand: Stand, pool: str) -> None:
    worker = stand.start("-P", pool, "-c", "2")
    everybody = psutil.Process(worker.pid).children(recursive=True)
    took = stopped(worker, signal.SIGTERM)
    assert worker.returncode == 0
    assert took < 5.0
    assert not [process for process in everybody if alive(process.pid)]
    assert worker.output.count(WARM) == 1
    assert COLD not in worker.output


@pools
def test_a_warm_stop_finishes_what_runs_and_returns_the_rest_at_once(stand: Stand, pool: str) -> None:
    worker = stand.start("-P", pool, "-c", "1")
    gate, begun = stand.path("gate"), stand.path("begun")
    running = stand.send("wait_for", str(gate), str(begun))
    until(lambda: lines(begun) == ["begun"])
    waiting = [stand.send("f", number) for number in range(3)]

    worker.signal(signal.SIGTERM)
    worker.wait_for_line("Warm shutdown")
    until(lambda: stand.broker.depth(["celery"])["celery"].ready == 3, what="giving back")
    assert worker.running
    worker.signal(signal.SIGTERM)  # once more changes nothing
    gate.touch()
    assert worker.wait() == 0
    assert worker.output.count(WARM) == 1
    assert running.get(timeout=20) == "seen"
    assert lines(begun) == ["begun", "ended"]
    depth = stand.broker.depth(["celery"])["celery"]
    assert (depth.ready, depth.claimed, depth.dead) == (3, 0, 0)
    returned = stand.broker.peek("celery", 9)
    assert [unpack(payload).id for payload in returned] == [result.id for result in waiting], "in their order"
    assert not [payload for payload in returned if b"deliveries" in payload], "as if nothing had happened"


@pytest.mark.parametrize("way", ["twice ctrl-c", "quit"])
@pools
def test_a_cold_stop_returns_what_runs_uncounted(stand: Stand, pool: str, way: str) -> None:
    worker = stand.start("-P", pool, "-c", "1")
    everybody = psutil.Process(worker.pid).children(recursive=True)
    gate, begun = stand.path("gate"), stand.path("begun")
    running = stand.send("wait_for", str(gate), str(begun))
    until(lambda: lines(begun) == ["begun"])
    if way == "quit":
        stopped(worker, signal.SIGQUIT)
    else:
        worker.signal(signal.SIGINT)
        worker.wait_for_line(PRESS_AGAIN.replace("+", r"\+"))
        assert WARM in worker.output
        stopped(worker, signal.SIGINT)
    assert worker.returncode == 1
    assert worker.output.count(COLD) == 1
    assert not [process for process in everybody if alive(process.pid)]
    (payload,) = stand.broker.peek("celery", 9)
    assert unpack(payload).id == running.id
    assert b"deliveries" not in payload
    assert stand.broker.depth(["celery"])["celery"] == Depth(ready=1)


@pytest.mark.parametrize("pool", [pool for pool in POOLS if pool != "solo"])
def test_a_task_that_raises_workershutdown_ends_its_process_and_counts_as_a_death(
    stand: Stand, pool: str
) -> None:
    worker = stand.start("-P", pool, "-c", "1")
    late, early = stand.send("shut_down"), stand.send("shut_down_early")
    for result in (late, early):
        until(lambda result=result: result.state == states.FAILURE)
        assert "WorkerShutdown" in str(result.result)
    assert [letter.id for letter in stand.broker.letters(9)] == [late.id], "after three deaths"
    assert stand.send("f", 3).get(timeout=10) == 3
    assert worker.running


def test_a_task_that_raises_workershutdown_ends_a_solo_worker(stand: Stand) -> None:
    worker = stand.start("-P", "solo")
    early = stand.send("shut_down_early")
    assert worker.wait() == 7
    assert early.state == states.FAILURE
    worker = stand.start("-P", "solo")
    late = stand.send("shut_down")
    assert worker.wait() == 7
    assert late.state == states.PENDING
    depth = stand.broker.depth(["celery"])["celery"]
    assert (depth.ready, depth.claimed) == (1, 0), "it is back at once"


def test_a_cold_stop_of_a_solo_worker_fails_what_was_acknowledged_early(stand: Stand) -> None:
    worker = stand.start("-P", "solo")
    gate, begun = stand.path("gate"), stand.path("begun")
    running = stand.send("wait_for_once", str(gate), str(begun))
    until(lambda: lines(begun) == ["begun"])
    stopped(worker, signal.SIGQUIT)
    assert worker.returncode == 1
    assert running.state == states.FAILURE
    assert stand.broker.depth(["celery"])["celery"] == Depth()


def test_ctrl_c_of_a_terminal_reaches_all_processes_and_counts_once(stand: Stand) -> None:
    worker = stand.start("-c", "2")
    gate, begun = stand.path("gate"), stand.path("begun")
    running = stand.send("wait_for", str(gate), str(begun))
    until(lambda: lines(begun) == ["begun"])
    os.killpg(worker.pid, signal.SIGINT)
    worker.wait_for_line("Hitting")
    gate.touch()
    assert worker.wait() == 0
    assert running.get(timeout=20) == "seen"
    assert COLD not in worker.output


def test_a_child_that_dies_while_stopping_loses_nothing(stand: Stand) -> None:
    worker = stand.start("-c", "2")
    gate, begun = stand.path("gate"), stand.path("begun")
    running = [stand.send("wait_for", str(gate), str(begun)) for _ in range(2)]
    until(lambda: lines(begun) == ["begun"] * 2)
    worker.signal(signal.SIGTERM)
    worker.wait_for_line("Warm shutdown")
    family(worker)[0].kill()
    worker.wait_for_line(r"Process 'Worker-\d' pid:\d+ exited with 'signal 9 \(SIGKILL\)'")
    gate.touch()
    assert worker.wait() == 0
    until(lambda: sorted(result.state for result in running) == [states.PENDING, states.SUCCESS])
    (payload,) = stand.broker.peek("celery", 9)
    assert payload.endswith(b',"deliveries":1}') or stand.url.startswith("sqlite")
    stand.start("-P", "solo")
    assert [result.get(timeout=20) for result in running] == ["seen", "seen"]


def test_a_child_that_lost_its_parent_returns_its_messages_and_ends(stand: Stand) -> None:
    worker = stand.start("-c", "2")
    children = family(worker)
    gate, begun = stand.path("gate"), stand.path("begun")
    running = stand.send("wait_for", str(gate), str(begun))
    until(lambda: lines(begun) == ["begun"])
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: not [child for child in children if alive(child.pid)], what="the end of the children")
    until(lambda: stand.broker.depth(["celery"])["celery"].ready == 1, what="the return")
    gate.touch()
    stand.start("-P", "solo")
    assert running.get(timeout=20) == "seen"


@pytest.mark.parametrize(
    ("pool", "outage"),
    [("prefork", "kill"), ("gevent", "kill"), ("solo", "kill"), ("prefork", "pause"), ("asyncio", "pause")],
)
def test_a_worker_stops_while_redis_is_away(tmp_path: Path, pool: str, outage: str) -> None:
    demand("redis-server", RedisServer.executable() is not None)
    with RedisServer() as server:
        stand = Stand(server.url, tmp_path)
        try:
            worker = stand.start("-P", pool, "-c", "1")
            gate, begun = stand.path("gate"), stand.path("begun")
            stand.send("wait_for", str(gate), str(begun))
            until(lambda: lines(begun) == ["begun"])
            getattr(server, outage)()
            worker.signal(signal.SIGTERM)
            worker.wait_for_line("Warm shutdown")
            began = time.monotonic()
            gate.touch()
            worker.wait(25)
            assert time.monotonic() - began < 20
            assert "could not be settled" in worker.output or outage == "pause"
        finally:
            if outage == "pause":
                server.resume()
            stand.close()
            print(worker.output)


def stopped(worker: Program, number: int) -> float:
    """Send the signal; gives the seconds until the end."""
    began = time.monotonic()
    worker.signal(number)
    worker.wait()
    return time.monotonic() - began
