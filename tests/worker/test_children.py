"""Children come and go: they retire, die and are replaced, and what they held is settled at once."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from celeriac import states
from celeriac.exceptions import WorkerLostError
from celeriac.worker import births
from celeriac.worker.supervisor import pause_after
from stand import Stand, family, lines, until


@pytest.fixture
def stand(every_store: str, tmp_path: Path) -> Iterator[Stand]:
    with Stand(every_store, tmp_path) as stand:
        yield stand


def test_a_child_retires_after_its_tasks(stand: Stand) -> None:
    worker = stand.start("-c", "1", "--max-tasks-per-child", "3")
    results = [stand.send("where") for _ in range(10)]
    pids = [result.get(timeout=20)[0] for result in results]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3, 1]
    until(lambda: len(family(worker)) == 1)
    assert " exited with " not in worker.output


@pytest.mark.parametrize("pool", ["threads", "gevent", "asyncio"])
def test_children_of_every_pool_retire(stand: Stand, pool: str) -> None:
    stand.start("-P", pool, "-c", "2", "--max-tasks-per-child", "4")
    pids = [stand.send("where").get(timeout=20)[0] for _ in range(9)]
    # With two rooms a second task may have begun when the last one ends.
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [4, 4, 1]


def test_a_child_that_grew_too_large_retires(stand: Stand) -> None:
    stand.start("-c", "1", "--max-memory-per-child", "150000")
    small = [stand.send("eat", 1).get(timeout=20) for _ in range(2)]
    assert small[0] == small[1]
    large = stand.send("eat", 150).get(timeout=20)
    assert large == small[0]
    assert stand.send("eat", 1).get(timeout=20) != large


@pytest.mark.parametrize("way", ["leave", "segfault", "kill", "stop and kill"])
def test_a_dead_child_is_replaced_within_a_second_and_its_message_runs_again(stand: Stand, way: str) -> None:
    worker = stand.start("-c", "2")
    before = {child.pid for child in family(worker)}
    scar = stand.path("scar")
    if way == "leave":
        result = stand.send("leave", 7, str(scar))
        word = "exitcode 7"
    elif way == "segfault":
        result = stand.send("segfault", str(scar))
        word = r"signal 11 \(SIGSEGV\)"
    else:
        gate = stand.path("gate")
        result = stand.send("wait_for", str(gate), str(scar))
        until(lambda: lines(scar))
        for child in family(worker):
            if way == "stop and kill":
                os.kill(child.pid, signal.SIGSTOP)
            os.kill(child.pid, signal.SIGKILL)
        gate.touch()
        word = r"signal 9 \(SIGKILL\)"
    until(lambda: lines(scar))
    died = time.monotonic()
    worker.wait_for_line(rf"ERROR/MainProcess\] Process 'Worker-\d' pid:\d+ exited with '{word}'")
    until(lambda: len({child.pid for child in family(worker)} - before) >= 1)
    assert time.monotonic() - died < 5.0
    worker.wait_for_line(r"WARNING/MainProcess\] Restoring 1 unacknowledged message")
    result.get(timeout=20)
    assert result.state == states.SUCCESS
    until(lambda: len(family(worker)) == 2)


def test_a_task_that_kills_every_child_becomes_a_dead_letter(stand: Stand) -> None:
    worker = stand.start("-c", "1")
    result = stand.send("kill_always")
    with pytest.raises(WorkerLostError, match="3 worker processes died while running this task"):
        result.get(timeout=20)
    (letter,) = until(lambda: stand.broker.letters(9))
    assert letter.id == result.id
    assert "WorkerLostError" in letter.reason
    assert stand.send("f", 1).get(timeout=20) == 1
    assert worker.output.count("exited with 'exitcode 9'") == 3


def test_a_task_acknowledged_early_never_runs_again(stand: Stand) -> None:
    worker = stand.start("-c", "1")
    gate, begun = stand.path("gate"), stand.path("begun")
    result = stand.send("wait_for_once", str(gate), str(begun))
    until(lambda: lines(begun))
    family(worker)[0].kill()
    with pytest.raises(WorkerLostError, match="SIGKILL"):
        result.get(timeout=20)
    assert stand.send("f", 1).get(timeout=20) == 1
    assert lines(begun) == ["begun"]
    depth = stand.broker.depth(["celery"])["celery"]
    assert (depth.ready, depth.claimed, depth.dead) == (0, 0, 0)


@pytest.mark.parametrize("pool", ["threads", "gevent", "asyncio"])
def test_all_that_ran_in_the_rooms_of_a_dead_child_runs_again(stand: Stand, pool: str) -> None:
    worker = stand.start("-P", pool, "-c", "4")
    gate, begun = stand.path("gate"), stand.path("begun")
    results = [stand.send("wait_for", str(gate), str(begun)) for _ in range(6)]
    until(lambda: len(lines(begun)) == 4)
    family(worker)[0].kill()
    gate.touch()
    assert [result.get(timeout=20) for result in results] == ["seen"] * 6
    worker.wait_for_line(r"Restoring \d unacknowledged message")


def test_a_child_that_dies_before_it_is_ready_is_born_again_at_longer_intervals(stand: Stand) -> None:
    births, cure = stand.path("births"), stand.path("cure")
    worker = stand.start(
        "-c", "1", app="stillborn", env={"BIRTHS": str(births), "CURE": str(cure)}, ready=False
    )
    until(lambda: len(lines(births)) >= 4)
    moments = [float(line) for line in lines(births)]
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert pauses[0] >= 0.2
    assert pauses[1] >= 0.4
    assert pauses[2] >= 0.8
    worker.wait_for_line(r"A child died before it was ready; the next one starts in 0\.4 s")
    cure.touch()
    worker.wait_for_line(r" ready\.")
    assert stand.send("stillborn.f", 1).get(timeout=20) == 1


def test_a_parent_keeps_some_descriptors_for_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    def dup(descriptor: int) -> int:
        taken.append(descriptor)
        if len(taken) == births.SPARE:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return plain(descriptor)

    def open_ones() -> list[str]:
        return [path.name for path in Path("/proc/self/fd").iterdir()]

    plain = os.dup
    taken: list[int] = []
    monkeypatch.setattr(os, "dup", dup)
    before = open_ones()
    with pytest.raises(OSError, match="Too many open files"):
        births.open_lines()
    assert open_ones() == before


def test_the_intervals_grow_to_half_a_minute_however_long_it_goes_on() -> None:
    assert [pause_after(failures) for failures in (1, 2, 5, 9, 5000)] == [0.2, 0.4, 3.2, 30.0, 30.0]


@pytest.mark.parametrize(
    ("scarce", "why"), [("fork", "Resource temporarily unavailable"), ("pipe", "Too many open files")]
)
def test_where_no_process_is_to_be_had_the_others_work_on_until_one_is(
    stand: Stand, scarce: str, why: str
) -> None:
    """And no descriptor below 1024, as on a node of very many children."""
    refuse = stand.path("refuse")

    def run_out_of(what: str) -> None:
        refuse.with_suffix(".new").write_text(what)
        refuse.with_suffix(".new").rename(refuse)

    run_out_of("fork")
    worker = stand.start("-c", "2", app="narrow", env={"REFUSE": str(refuse)}, ready=False)
    first, second = (
        datetime.fromisoformat(worker.wait_for_line(rf"\[(.*): ERROR/.* A child cannot .* in {pause} s")[1])
        for pause in ("0.2", "0.4")
    )
    assert second - first > timedelta(seconds=0.19), "both wait, and not one after the other"
    refuse.unlink()
    worker.wait_for_line(r" ready\.")
    run_out_of(scarce)
    before = worker.output.count(why)
    family(worker)[0].kill()
    worker.wait_for_line(rf"A child cannot be started \(.*{why}\); the next try", times=before + 1)
    assert stand.send("narrow.f", 1).get(timeout=20) == 1
    refuse.unlink()
    until(lambda: len(family(worker)) == 2)
    assert worker.stop() == 0


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "asyncio"])
def test_spawned_children_work_and_are_replaced(stand: Stand, pool: str) -> None:
    worker = stand.start("-P", pool, "-c", "2", "--pool-start-method", "spawn")
    process, parent = stand.send("where").get(timeout=20)
    assert parent == worker.pid
    assert stand.send("af", 1).get(timeout=20) == 1
    if pool == "prefork":
        worker.wait_for_line(r"SpawnPoolWorker-\d\] Task main\.af")
    os.kill(process, signal.SIGKILL)
    worker.wait_for_line("exited with 'signal 9")
    assert stand.send("where").get(timeout=20)[0] != process


def test_an_app_that_starts_threads_is_warned_and_works_when_spawned(stand: Stand) -> None:
    worker = stand.start("-c", "1", app="threaded")
    worker.wait_for_line(r"WARNING/MainProcess\] .*1 thread.*--pool-start-method spawn")
    worker.stop()
    worker = stand.start("-c", "1", "--pool-start-method", "spawn", app="threaded")
    assert stand.send("threaded.ask_the_thread").get(timeout=20) == "the thread lives"
    assert "thread(s)" not in worker.output


def test_a_pidfile_refuses_the_second_start_and_not_the_next(stand: Stand) -> None:
    worker = stand.start("-c", "1", "--pidfile", "w.pid")
    pidfile = stand.folder / "w.pid"
    assert int(pidfile.read_text()) == worker.pid
    second = stand.start("-c", "1", "--pidfile", "w.pid", ready=False)
    assert second.wait() == 1
    assert f"belongs to process {worker.pid}" in second.output
    assert "Traceback" not in second.output
    assert int(pidfile.read_text()) == worker.pid
    worker.stop()
    assert not pidfile.exists()
    # One that was killed leaves its file, which then names nobody.
    third = stand.start("-c", "1", "--pidfile", "w.pid")
    third.kill()
    assert pidfile.exists()
    stand.start("-c", "1", "--pidfile", "w.pid")


def test_each_child_can_have_a_log_file(stand: Stand) -> None:
    worker = stand.start("-c", "2", "-n", "w1@%h", "-f", "%n%I.log", ready=False)
    logs = [stand.folder / name for name in ("w1.log", "w1-1.log", "w1-2.log")]
    until(lambda: logs[0].exists() and " ready." in logs[0].read_text())
    result = stand.send("say", "into the file")
    result.get(timeout=20)
    until(lambda: any("into the file" in log.read_text() for log in logs[1:] if log.exists()))
    assert "into the file" not in logs[0].read_text()
    assert "into the file" not in worker.output


def test_lines_of_the_log_can_be_json(stand: Stand) -> None:
    worker = stand.start("-c", "1", "--log-format", "json", env={"CELERY_QUIET": "1"}, ready=False)
    worker.wait_for_line(r"ready\.")
    stand.send("say", 'a "quoted" word').get(timeout=20)
    failing = stand.send("fail", "two\nlines")
    until(lambda: failing.state == states.FAILURE)
    worker.wait_for_line(failing.id, times=2)
    worker.stop()
    objects = [json.loads(line) for line in worker.output.splitlines() if line.startswith("{")]
    others = [line for line in worker.output.splitlines() if line and not line.startswith("{")]
    assert all(line.startswith("worker: ") for line in others)
    assert all({"time", "level", "logger", "process", "message"} <= set(line) for line in objects)
    assert 'a "quoted" word' in [line["message"] for line in objects]
    (failure,) = [line for line in objects if line["level"] == "ERROR"]
    assert failure["task_id"] == failing.id
    assert "ValueError: two\nlines" in failure["exception"]
