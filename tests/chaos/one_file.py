"""What is done to a SQLite file and its disk: writers are killed in the middle of it, and space runs out."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from chaos.faults import kill_a_child, kill_a_supervisor, kill_a_worker
from chaos.length import Length
from chaos.stage import SqliteStore, Stage
from services import Program, clean_environment

#: Messages that may be ready before producers are replaced no more.
AHEAD = 2_000
#: The sizes of disks: on one a file of celeriac has room to work and no more, the other may run full often.
SMALL, LARGER = "6500k", "64m"

PRODUCER = """
import itertools, sys, time
from celeriac import Celery

url, name, most, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
app = Celery(broker=url, backend=url)
for number in range(most):
    word = f"{name}.{number}"
    app.send_task("chaos_app.work", (word,), task_id=word, priority=6)
    print(word, flush=True)
    if pause:
        time.sleep(pause)
print("all sent", flush=True)
"""


def start_producer(url: str, name: str, most: int = 100_000, pause: float = 0.0) -> Program:
    """A program that sends words and says each when it is stored."""
    words = [sys.executable, "-c", PRODUCER, url, name, str(most), str(pause)]
    program = Program(words, env=clean_environment())
    program.start()
    return program


def kill_producer(stage: Stage, producer: Program) -> None:
    """Sent is what it said, and perhaps the one over which it died."""
    producer.kill()
    words = producer.output.split()
    if words:
        stage.doubtful.add(f"{words[-1].split('.')[0]}.{len(words)}")
    stage.sent.update(words)


def integrity(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as db:
        answer: str = db.execute("PRAGMA integrity_check").fetchone()[0]
    return answer


def small_disk(folder: Path, size: str = SMALL) -> list[str] | None:
    """The beginning of a command line, for what is to see a small disk at this folder; None: it cannot be
    made here."""
    unshare = shutil.which("unshare")
    mount = ["sh", "-c", f'mount -t tmpfs -o size={size} tmpfs "{folder}" && exec "$@"', "sh"]
    if unshare is None or subprocess.run([unshare, "-rm", *mount, "true"], check=False).returncode:
        return None
    return [unshare, "-rm", *mount]


def fill(folder: Path, disk: list[str], rounds: int) -> str:
    """Run small_disk.py there; gives what it said, and raises if it failed."""
    here = Path(__file__).parent
    ended = subprocess.run(
        [*disk, sys.executable, str(here / "small_disk.py"), str(folder), str(rounds)],
        env=clean_environment({"PYTHONPATH": f"{here.parent}{os.pathsep}{here.parent.parent / 'src'}"}),
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


# --- the trials ---------------------------------------------------------------------------------------------


def writers_of_one_file(stage: Stage, dice: random.Random, length: Length) -> str:
    """Row 12: two workers and four producers of one file, and SIGKILL for any of them in the middle of it."""
    assert isinstance(stage.store, SqliteStore)
    for _ in range(2):
        stage.start_worker("-c", "2")
    count, killed = 4, 0
    at_work = [start_producer(stage.store.url, f"p{number}", pause=0.01) for number in range(count)]
    while not killed or length.lasts(len(stage.sent)):
        time.sleep(dice.uniform(0.2, 1.5))
        at = dice.randrange(len(at_work))
        kill_producer(stage, at_work[at])
        at_work[at] = start_producer(stage.store.url, f"p{count}", pause=0.01)
        dice.choice((kill_a_child, kill_a_child, kill_a_supervisor, kill_a_worker))(stage, dice)
        count, killed = count + 1, killed + 2
        while stage.store.census(harvest=False).depth.ready > AHEAD:
            time.sleep(0.2)
    for producer in at_work:
        kill_producer(stage, producer)
    stage.wait_until_done(120)
    stage.check_all_ran()
    assert integrity(stage.store.path) == "ok"
    return (
        f"{len(stage.sent)} sent by {count} producers, {killed} processes killed, none missing, "
        f"{stage.reruns()} second runs; integrity_check: ok"
    )


def a_full_disk(stage: Stage, dice: random.Random, length: Length) -> str:
    """Row 12: a disk fills up under a worker and its producer, and is freed, again and again."""
    rounds, said = 0, ""
    while not rounds or length.lasts(rounds):
        folder = stage.folder / f"after {rounds}" / "small"
        folder.mkdir(parents=True)
        disk = small_disk(folder, LARGER)
        assert disk is not None, "no small disk can be mounted here (unshare -rm, tmpfs)"
        said = fill(folder, disk, 5)
        rounds += 5
    (last,) = (line for line in said.splitlines() if line.startswith("all "))
    return f"{rounds} times a disk ran full; after the last five {last}"
