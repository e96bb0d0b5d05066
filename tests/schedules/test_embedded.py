"""`worker -B`: a scheduler beside the children of a worker, in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services import Program, clean_environment, start_worker
from stand import until


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_a_worker_with_a_scheduler_runs_what_it_plans_and_replaces_one_that_died(
    tmp_path: Path, pool: str
) -> None:
    (tmp_path / "main.py").write_text(
        "from celeriac import Celery\n"
        "app = Celery('main')\n"
        "app.conf.beat_lease = 1.0\n"
        "app.conf.beat_schedule = {'often': {'task': 'main.work', 'schedule': 0.2}}\n"
        "@app.task\n"
        "def work(): ...\n"
    )
    worker = start_worker("main", tmp_path, "-B", "-l", "info", "-P", pool, "-c", "1")
    try:
        worker.wait_for_line(r"INFO/Beat\] Scheduler: Sending due task often \(main\.work\)")
        worker.wait_for_line(r"Task main\.work\[\S+\] succeeded")
        os.kill(scheduler_of(worker), signal.SIGKILL)
        worker.wait_for_line(r"The scheduler of this worker \(pid \d+\) has died and is started anew")
        worker.wait_for_line(r"beat: \S+ leads", times=2)
        last = scheduler_of(worker)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert "beat: Shutting down..." in worker.output
        until(lambda: not psutil.pid_exists(last))
    finally:
        worker.kill()


def test_a_scheduler_ends_with_its_killed_worker(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("from celeriac import Celery\napp = Celery('main')\n")
    worker = start_worker("main", tmp_path, "-B", "-l", "info", "-P", "solo")
    try:
        worker.wait_for_line(r"beat: \S+ leads")
        scheduler = scheduler_of(worker)
        worker.signal(signal.SIGKILL)
        until(lambda: not alive(scheduler))
    finally:
        worker.kill()


def test_process_1_of_a_container_replaces_a_scheduler_that_died(tmp_path: Path) -> None:
    """There it waits for all that tasks leave behind, and must leave this one to who tends it."""
    container = [shutil.which("unshare") or "unshare", "-rpf", "--mount-proc"]
    try:
        subprocess.run([*container, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no namespace of processes can be made here")
    (tmp_path / "main.py").write_text("from celeriac import Celery\napp = Celery('main')\n")
    words = ["-m", "celeriac", "-A", "main", "worker", "-B", "-l", "info", "-c", "1"]
    worker = Program([*container, sys.executable, *words], cwd=tmp_path, env=clean_environment())
    worker.start()
    try:
        worker.wait_for_line(r"beat: \S+ leads")
        worker.wait_for_line(r" ready\.")
        (first,) = psutil.Process(worker.pid).children()
        (scheduler,) = [child for child in first.children() if pid_inside(child.pid) == scheduler_of(worker)]
        scheduler.kill()
        worker.wait_for_line(r"The scheduler of this worker \(pid \d+\) has died and is started anew")
        worker.wait_for_line(r"beat: Starting", times=2)
        first.terminate()
        assert worker.wait() == 0
    finally:
        worker.kill()


def pid_inside(pid: int) -> int:
    """The number of a process within its container."""
    (line,) = re.findall(r"^NSpid:.*", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(line.split()[-1])


def scheduler_of(worker: Program) -> int:
    """The process that said last that it leads."""
    return int(re.findall(r"beat: \S+:(\d+) leads", worker.output)[-1])


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
