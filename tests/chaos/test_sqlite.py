"""Row 12: one file under kills of everybody who writes it, and on a disk that is full."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from chaos import faults
from chaos.stage import Opened
from chaos.storm import Storm
from services import Program, clean_environment

PRODUCER = """
import itertools, sys, time
from celeriac import Celery

url, name, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
app = Celery(broker=url, backend=url)
for number in range(most):
    word = f"{name}.{number}"
    app.send_task("chaos_app.work", (word,), task_id=word, priority=6)
    print(word, flush=True)
print("all sent", flush=True)
"""


def test_one_file_survives_the_kills_of_its_workers_and_producers(opened: Opened, tmp_path: Path) -> None:
    stage = opened("sqlite", lease=2.0)
    for _ in range(2):
        stage.start_worker("-c", "2")
    producers = [producer(stage.store.url, f"p{number}", 100_000) for number in range(4)]
    for one in producers:
        one.wait_for_line(r"p\d\.20")
    for one in producers:
        one.kill()
        # Sent is what it said, and perhaps the one over which it died.
        words = one.output.split()
        stage.doubtful.add(f"{words[-1].split('.')[0]}.{len(words)}")
        stage.sent.update(words)
    storm = Storm(stage, seed=12, most=400, rate=100)
    storm.begin()
    storm.run([faults.kill_a_child, faults.kill_a_supervisor, faults.kill_a_worker], pause=(0.1, 0.3))
    storm.end()
    assert integrity(tmp_path / "chaos.db") == "ok"


def test_a_full_disk_loses_nothing_and_says_so_and_work_goes_on_when_it_is_freed(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    unshare = shutil.which("unshare")
    mount = ["sh", "-c", f'mount -t tmpfs -o size=6500k tmpfs {small} && exec "$@"', "sh"]
    if unshare is None or subprocess.run([unshare, "-rm", *mount, "true"], check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    here = Path(__file__).parent
    ended = subprocess.run(
        [unshare, "-rm", *mount, sys.executable, str(here / "small_disk.py"), str(small)],
        env=clean_environment({"PYTHONPATH": f"{here.parent}{os.pathsep}{here.parent.parent / 'src'}"}),
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "free some space on its disk" in ended.stdout
    assert "all " in ended.stdout


def producer(url: str, name: str, most: int) -> Program:
    program = Program([sys.executable, "-c", PRODUCER, url, name, str(most)], env=clean_environment())
    program.start()
    return program


def integrity(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as db:
        answer: str = db.execute("PRAGMA integrity_check").fetchone()[0]
    return answer
