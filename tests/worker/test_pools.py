"""Every pool on every driver keeps the same promises to the tasks that it runs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from celeriac import states
from celeriac.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded
from celeriac.result import AsyncResult
from celeriac.worker.runners.aio import MOST_THREADS
from conftest import demand
from services import RedisServer
from stand import DRIVERS, POOLS, Stand, family, lines, until

#: As many rooms as tests make use of.
ROOMS = {"prefork": 2, "threads": 4, "gevent": 20, "asyncio": 100, "solo": 1}
#: The errors that tests provoke.
PROVOKED = "ValueError|SoftTimeLimitExceeded|TimeLimitExceeded|CancelledError|SystemExit"
STAMP = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: "


class Pool(Stand):
    """A stand with one worker of one pool, which all tests of that pool share."""

    def __init__(self, kind: str, url: str, folder: Path) -> None:
        super().__init__(url, folder)
        self.kind = kind
        self.rooms = ROOMS[kind]
        self.worker = self.start("-P", kind, "-c", str(self.rooms))
        #: The name of the processes that run tasks, in the log.
        self.process = r"ForkPoolWorker-\d" if kind == "prefork" else "MainProcess"

    def run(self, name: str, *args: Any, **options: Any) -> Any:
        return self.send(name, *args, **options).get(timeout=20)

    def still_works(self) -> None:
        assert self.run("f", "well") == "well"
        assert self.run("af", "well") == "well"


@pytest.fixture(scope="module")
def own_server() -> Iterator[RedisServer]:
    demand("redis-server", RedisServer.executable() is not None)
    with RedisServer() as server:
        yield server


@pytest.fixture(
    scope="module",
    params=[(pool, driver) for pool in POOLS for driver in DRIVERS],
    ids=lambda param: "-".join(param),
)
def place(
    request: pytest.FixtureRequest, own_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str, Path]:
    """(pool, url, folder), the same for all tests of a pool and driver."""
    pool, driver = request.param
    folder = tmp_path_factory.mktemp(pool)
    if driver == "sqlite":
        return pool, f"sqlite:///{folder}/store.db", folder
    return pool, own_server.url.removesuffix("0") + str(POOLS.index(pool)), folder


@pytest.fixture(scope="module")
def pool(place: tuple[str, str, Path]) -> Iterator[Pool]:
    pool = Pool(*place)
    yield pool
    pool.close()
    print(pool.worker.output)


def test_it_runs_plain_and_async_tasks_with_every_kind_of_value(pool: Pool) -> None:
    value = [1, "ä", None, {"of": [2.5, b"bytes"]}, datetime(2025, 4, 25, tzinfo=UTC)]
    assert pool.run("f", value) == value
    assert pool.run("af", value) == value


def test_what_a_generator_yields_reaches_the_caller_while_others_run(pool: Pool) -> None:
    several = [pool.send(name, 50) for name in ("parts", "aparts", "parts")]
    assert [list(result.stream(timeout=20)) for result in several] == [list(range(50))] * 3
    assert [result.get(timeout=20) for result in several] == ["all", None, "all"]


def test_it_logs_what_came_and_what_became_of_it_to_the_letter(pool: Pool) -> None:
    result = pool.send("f", "x")
    result.get(timeout=20)
    pool.worker.wait_for_line(rf"^{STAMP}INFO/MainProcess\] Task main\.f\[{result.id}\] received$")
    pool.worker.wait_for_line(
        rf"^{STAMP}INFO/{pool.process}\] Task main\.f\[{result.id}\] succeeded in [\d.e-]+s: 'x'$"
    )


def test_it_logs_a_failure_with_its_traceback(pool: Pool) -> None:
    result = pool.send("fail", "as planned")
    with pytest.raises(ValueError, match="as planned"):
        result.get(timeout=20)
    pool.worker.wait_for_line(
        rf"^{STAMP}ERROR/{pool.process}\] Task main\.fail\[{result.id}\] raised unexpected: "
        r"ValueError\('as planned'\)$"
    )
    pool.worker.wait_for_line(r"^ValueError: as planned$")
    assert result.traceback is not None
    assert 'main.py", line' in result.traceback
    assert "celeriac/worker" not in result.traceback


def test_printed_lines_are_warnings_of_the_process(pool: Pool) -> None:
    pool.run("say", "spoken aloud")
    for text in ("spoken aloud", "error spoken aloud"):
        pool.worker.wait_for_line(rf"^{STAMP}WARNING/{pool.process}\] {text}$")


def test_the_logger_of_tasks_names_the_task(pool: Pool) -> None:
    result = pool.send("log_line", "told")
    result.get(timeout=20)
    pool.worker.wait_for_line(rf"^{STAMP}INFO/{pool.process}\] main\.log_line\[{result.id}\]: told$")


def test_a_retry_waits_for_its_countdown(pool: Pool) -> None:
    ledger = pool.path("retry")
    result = pool.send("second_time_lucky", str(ledger), 0.3)
    assert result.get(timeout=20) == "lucky"
    first, second = map(float, lines(ledger))
    assert 0.3 <= second - first < 0.3 + 1.5
    pool.worker.wait_for_line(
        rf"Task main\.second_time_lucky\[{result.id}\] retry: Retry in 0\.3s: ValueError\('not yet'\)$"
    )


@pytest.mark.parametrize("name", ["never_lucky", "never_lucky_async"])
def test_a_task_that_retries_by_itself_tries_five_times_more_and_then_fails(pool: Pool, name: str) -> None:
    ledger = pool.path("retries")
    result = pool.send(name, str(ledger))
    with pytest.raises(ValueError, match="never"):
        result.get(timeout=20)
    assert (result.state, len(lines(ledger))) == (states.FAILURE, 6)


@pytest.mark.parametrize("name", ["wait_for", "wait_for_async"])
def test_WRK_16_the_soft_limit_ends_a_task_that_does_not_mind_it(pool: Pool, name: str) -> None:
    result = pool.send(name, "/never", soft_time_limit=0.2)
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(timeout=20)
    pool.worker.wait_for_line(rf"Soft time limit \(0\.2s\) exceeded for main\.{name}\[{result.id}\]")
    pool.still_works()


@pytest.mark.parametrize("name", ["soft", "soft_async", "soft_in_group"])
def test_a_task_can_clean_up_at_its_soft_limit(pool: Pool, name: str) -> None:
    assert pool.run(name, "/never", soft_time_limit=0.2) == "cleaned up"
    pool.still_works()


@pytest.mark.parametrize("name", ["wait_for", "wait_for_async"])
def test_WRK_16_the_hard_limit_ends_a_task_for_good(pool: Pool, name: str) -> None:
    before = _children(pool)
    result = pool.send(name, "/never", time_limit=0.2)
    with pytest.raises(TimeLimitExceeded) as limit:
        result.get(timeout=20)
    pool.worker.wait_for_line(rf"Hard time limit \(0\.2s\) exceeded for main\.{name}\[{result.id}\]")
    assert limit.value.args == (0.2,)
    pool.still_works()
    # Only a process can be ended whatever it does; the others are asked by an exception.
    assert (_children(pool) != before) == (pool.kind == "prefork")


def test_a_limit_never_hits_the_next_task(pool: Pool) -> None:
    results = [pool.send("f", number, soft_time_limit=0.01, time_limit=5) for number in range(50)]
    answers = [_end_of(result) for result in results]
    assert all(answer == number or answer is SoftTimeLimitExceeded for number, answer in enumerate(answers))
    pool.still_works()


def test_a_clock_that_is_set_moves_no_limit(pool: Pool) -> None:
    def set_clocks(seconds: float) -> None:
        processes: set[int] = set()
        wanted = len(_children(pool)) if pool.kind == "prefork" else 1
        until(lambda: processes.add(pool.run("set_clock", seconds)) or len(processes) == wanted)

    set_clocks(-3600.0)
    pool.run("set_clock", 0.0, 0.15, soft_time_limit=60, time_limit=90)
    set_clocks(0.0)


def test_a_task_that_waits_for_a_thread_has_its_whole_limit_before_it(pool: Pool) -> None:
    if pool.kind != "asyncio":
        pytest.skip("has a thread for each room, or none")
    gate, begun = pool.path("gate"), pool.path("begun")
    filling = [pool.send("wait_for", str(gate), str(begun)) for _ in range(MOST_THREADS)]
    until(lambda: len(lines(begun)) == MOST_THREADS)
    queued = pool.send("wait_for", "/never", soft_time_limit=0.1)
    with pytest.raises(SoftTimeLimitExceeded):  # by then its limit would be over too
        pool.run("wait_for_async", "/never", soft_time_limit=0.2)
    assert f"exceeded for main.wait_for[{queued.id}]" not in pool.worker.output
    gate.touch()
    with pytest.raises(SoftTimeLimitExceeded):
        queued.get(timeout=20)
    for result in filling:
        assert result.get(timeout=20) == "seen"


def test_a_coroutine_that_is_cancelled_has_failed_and_costs_no_room(pool: Pool) -> None:
    # A prefork child has a loop of its own, and one task on it.
    begun, beside = pool.path("begun"), 0 if pool.kind in ("prefork", "solo") else pool.rooms - 1
    waits = [pool.send("wait_for_async", "/never", str(begun)) for _ in range(beside)]
    until(lambda: len(lines(begun)) == beside)
    for result in [pool.send("cancel_all"), *waits]:
        until(result.ready)
        assert result.state == states.FAILURE
    pool.still_works()


def test_a_coroutine_that_leaves_within_a_task_ends_that_task_alone(pool: Pool) -> None:
    begun, gate = pool.path("begun"), pool.path("gate")
    others = [pool.send("wait_for_async", str(gate), str(begun)) for _ in range(min(pool.rooms, 4) - 1)]
    until(lambda: len(lines(begun)) == len(others))
    assert pool.run("stop_loop") == "went on"
    assert pool.run("exit_behind") == "through"
    result = pool.send("exit_within")
    until(result.ready)
    assert result.state == states.FAILURE
    gate.touch()
    assert [result.get(timeout=20) for result in others] == ["seen"] * len(others)
    pool.still_works()


def test_a_loop_that_a_plain_function_closes_costs_no_process(pool: Pool) -> None:
    before = _children(pool)
    for _ in range(2 * len(before) or 1):
        pool.run("stop_loop")
        pool.run("close_loop")
    assert pool.run("stop_loop") == "went on"
    assert _children(pool) == before
    pool.still_works()


def test_a_result_that_nobody_wants_is_not_kept(pool: Pool) -> None:
    ledger = pool.path("forgotten")
    result = pool.send("forgotten", str(ledger))
    until(lambda: lines(ledger) == ["ran"])
    pool.still_works()
    assert result.state == states.PENDING
    # The call wins over the task.
    assert pool.run("forgotten", str(ledger), ignore_result=False) == "nobody asks"


def test_as_many_tasks_run_at_a_time_as_there_are_rooms(pool: Pool) -> None:
    count = min(pool.rooms, 20)
    folder = pool.path("meeting")
    folder.mkdir()
    together = [pool.send("meet", str(folder), str(number), count) for number in range(count)]
    assert [result.get(timeout=20) for result in together] == [True] * count


def test_a_hundred_coroutines_sleep_at_the_same_time(pool: Pool) -> None:
    if pool.kind != "asyncio":
        pytest.skip("has not a hundred rooms")
    began = time.monotonic()
    naps = [pool.send("nap", 0.5) for _ in range(100)]
    for nap in naps:
        nap.get(timeout=20)
    assert time.monotonic() - began < 10


def test_async_tasks_of_one_child_share_one_loop(pool: Pool) -> None:
    marks = [pool.run("loop_of_child") for _ in range(6)]
    processes = {process for process, _ in marks}
    assert len({tuple(mark) for mark in marks}) == len(processes)


def test_an_eta_is_kept(pool: Pool) -> None:
    ledger = pool.path("eta")
    due = datetime.now(UTC) + timedelta(seconds=0.4)
    for _ in range(3):
        pool.send("second_time_lucky", str(ledger), 0.0, eta=due)
    moments = until(lambda: len(found := lines(ledger)) >= 3 and found)
    # Of the three the quickest, since a busy machine may hold up any one.
    assert 0.0 <= min(map(float, moments)) - due.timestamp() < 0.3


def test_what_expired_does_not_run(pool: Pool) -> None:
    ledger = pool.path("expired")
    result = pool.send("note", str(ledger), "late", expires=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=20)
    assert result.state == states.REVOKED
    assert lines(ledger) == []
    pool.worker.wait_for_line(rf"Discarding revoked task: main\.note\[{result.id}\]")


def test_who_asks_sees_started_and_states_of_the_task_itself(pool: Pool) -> None:
    for name, state, field in (("tracked", states.STARTED, "pid"), ("progress", "PROGRESS", "done")):
        gate = pool.path(name)
        result = pool.send(name, str(gate))
        until(lambda result=result, state=state: result.state == state)
        assert field in result.info
        gate.touch()
        assert result.get(timeout=20) == "seen"


def test_a_result_of_a_mebibyte_arrives_whole(pool: Pool) -> None:
    assert pool.run("large", 1 << 20) == "x" * (1 << 20)


def test_a_task_may_start_programs_and_end_them(pool: Pool) -> None:
    assert pool.run("run_program") == "from outside"
    assert pool.run("terminate_program") == -15


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_task_may_start_processes_itself_and_end_them(pool: Pool, method: str) -> None:
    if pool.kind == "gevent":
        pytest.skip("with or without us, it reaps what multiprocessing spawns, and greenlets go on in forks")
    assert pool.run("run_process", method) == 7
    assert pool.run("terminate_process", method) == -15
    assert pool.run("run_processes", method) == [1, 4, 9]


def test_a_process_that_a_task_forked_does_nothing_of_the_workers(pool: Pool) -> None:
    """Under gevent it is born with all greenlets, also the one that claims."""
    if pool.rooms == 1:
        pytest.skip("has one room, in which the task itself runs")
    gate, begun = pool.path("gate"), pool.path("begun")
    forking = pool.send("run_process_until", str(gate), str(begun))
    until(lambda: lines(begun) == ["begun"])
    said = len(pool.worker.lines)
    processes = {pool.run("where")[0] for _ in range(20)}
    assert processes <= {child.pid for child in family(pool.worker)}
    gate.touch()
    assert forking.get(timeout=20) == 7
    assert "onnection to broker" not in "".join(pool.worker.lines[said:])


def test_a_task_acknowledged_early_is_acknowledged_when_it_begins(pool: Pool) -> None:
    gate, begun = pool.path("gate"), pool.path("begun")
    result = pool.send("wait_for_once", str(gate), str(begun))
    until(lambda: lines(begun) == ["begun"])
    gate.touch()
    assert result.get(timeout=20) == "seen"


def test_priority_then_arrival_decides_and_no_queue_starves(place: tuple[str, str, Path]) -> None:
    kind, url, folder = place
    stand = Stand(url, folder)
    try:
        ordered, mixed = stand.path("ordered"), stand.path("mixed")
        for number in range(8):
            for priority in (9, 0, 6, 3):
                stand.send("note", str(ordered), f"{priority}-{number}", queue="ordered", priority=priority)
        for number in range(60):
            stand.send("note", str(mixed), f"flood-{number}", queue="flood")
        for number in range(5):
            stand.send("note", str(mixed), f"trickle-{number}", queue="trickle")
        stand.send("note", str(mixed), "excluded", queue="excluded")

        # One queue alone: its order is seen in the ledger.
        worker = stand.start("-P", kind, "-c", "1", "-Q", "ordered", "-n", "first@%h")
        until(lambda: len(lines(ordered)) == 32)
        assert lines(ordered) == [f"{priority}-{number}" for priority in (0, 3, 6, 9) for number in range(8)]
        worker.stop()

        stand.start(
            "-P", kind, "-c", "1", "-Q", "flood,trickle,excluded", "-X", "excluded", "-n", "second@%h"
        )
        until(lambda: len(lines(mixed)) == 65)
        written = lines(mixed)
        assert [line for line in written if line.startswith("flood")] == [f"flood-{n}" for n in range(60)]
        assert written.index("trickle-4") < 55
        assert stand.broker.depth(["excluded"])["excluded"].ready == 1
    finally:
        stand.close()


def test_a_pool_that_cannot_kill_a_task_says_so_where_that_is_asked_for(place: tuple[str, str, Path]) -> None:
    kind, url, folder = place
    stand = Stand(url, folder)
    try:
        worker = stand.start("-P", kind, "-c", "1", "-n", "limited@%h", "-Q", "limited", "--time-limit", "9")
        warned = f"-P {kind} cannot kill a process at its hard time limit" in worker.output
        assert warned == (kind != "prefork")
    finally:
        stand.close()


def test_nothing_was_an_error_of_ours(pool: Pool) -> None:
    """Last of its pool: what the tests above have provoked is all that the log complains of."""
    complaints = [
        line
        for line in pool.worker.output.splitlines()
        if re.search(r": (ERROR|CRITICAL)/", line)
        and not re.search(rf"raised unexpected: ({PROVOKED})\(", line)
        and "Hard time limit (0.2s) exceeded for main." not in line
    ]
    assert complaints == []
    assert "INTERNAL ERROR" not in pool.worker.output
    depth = pool.broker.depth(["celery"])["celery"]
    assert (depth.ready, depth.delayed, depth.claimed, depth.dead) == (0, 0, 0, 0)


def _end_of(result: AsyncResult[Any]) -> Any:
    try:
        return result.get(timeout=20)
    except SoftTimeLimitExceeded as limit:
        return type(limit)


def _children(pool: Pool) -> set[tuple[int, int]]:
    return {tuple(pool.run("where")) for _ in range(8)}
