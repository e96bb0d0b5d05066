"""The long run: `make chaos MINUTES=30 SEED=n`. One storm after the other, then a report with plots."""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from chaos.faults import (
    CONNECTIONS,
    OUTAGES,
    PROCESSES,
    Fault,
    Inflict,
    freeze_a_worker,
    kill_a_child,
    lasting,
)
from chaos.report import Chapter, write
from chaos.stage import RedisStore, SqliteStore, Stage, Store
from chaos.storm import Send, Storm, send_a_mix, send_work
from chaos.trials import TRIALS, Trial

REPORT = Path(__file__).parent / "report"


class Act(NamedTuple):
    """One storm of the play."""

    name: str
    driver: str
    #: Arguments of each worker.
    workers: Sequence[tuple[str, ...]]
    faults: Sequence[Inflict]
    #: Seconds between two faults.
    pause: tuple[float, float]
    #: Seconds that an outage lasts.
    outage: tuple[float, float] = (0.5, 5.0)
    acks: str = "late"
    lease: float = 2.0
    rate: float = 150.0
    send: Send = send_a_mix


def roll(stage: Stage, dice: random.Random) -> Fault:
    """One step of a rolling restart: a new worker comes, then the oldest gets TERM."""
    began = time.time()
    oldest = next(worker for worker in stage.workers if worker.running)
    stage.replace(oldest)
    oldest.signal(15)
    code = oldest.wait(30)
    assert code == 0, f"a worker told to stop ended with {code}"
    return Fault("worker replaced", began, time.time())


TWO = (("-c", "2"), ("-c", "2"))
EVERY_POOL = tuple(("-P", pool, "-c", "4") for pool in ("prefork", "threads", "gevent", "asyncio"))

ACTS = (
    Act("Kills and cuts on Redis", "redis", TWO, (*PROCESSES, *CONNECTIONS, *OUTAGES), (0.5, 3.0)),
    Act("Zombies on Redis", "redis", TWO, (freeze_a_worker, kill_a_child, *CONNECTIONS), (0.5, 3.0)),
    Act("Long outages, every pool", "redis", (*EVERY_POOL, ("-P", "solo")), OUTAGES, (1.0, 5.0),
        outage=(5.0, 60.0), lease=30.0, rate=50.0),
    Act("Threads on Redis", "redis", (("-P", "threads", "-c", "8"),) * 2,
        (*PROCESSES, *CONNECTIONS, *OUTAGES), (0.5, 3.0)),
    Act("Coroutines on Redis", "redis", (("-P", "asyncio", "-c", "8"),) * 2,
        (*PROCESSES, *CONNECTIONS, *OUTAGES), (0.5, 3.0)),
    Act("Greenlets on Redis", "redis", (("-P", "gevent", "-c", "8"),) * 2,
        (*PROCESSES, *CONNECTIONS, *OUTAGES), (0.5, 3.0)),
    Act("Acknowledged early", "redis", TWO, (*PROCESSES, *CONNECTIONS), (0.5, 3.0), acks="early"),
    Act("Acknowledged early, every pool", "redis", EVERY_POOL,
        (freeze_a_worker, *PROCESSES, *CONNECTIONS, *OUTAGES), (0.5, 3.0), acks="early"),
    Act("Acknowledged early on SQLite", "sqlite", TWO, (*PROCESSES, freeze_a_worker), (0.5, 3.0),
        acks="early"),
    Act("One task a child, recycled and killed", "redis", (("-c", "2", "--max-tasks-per-child", "5"),) * 2,
        (kill_a_child,), (0.2, 1.0), rate=60.0, send=send_work),
    Act("Kills on SQLite", "sqlite", TWO, (*PROCESSES, freeze_a_worker), (0.5, 3.0)),
    Act("Threads on SQLite", "sqlite", (("-P", "threads", "-c", "8"),) * 2, PROCESSES, (0.5, 3.0)),
    Act("Rolling restarts", "redis", (("-c", "1"),) * 6, (roll,), (0.1, 1.0), lease=30.0),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--act", help="only acts with these words in their name")
    options = parser.parse_args()
    acts: list[Act | Trial] = [
        act for act in (*ACTS, *TRIALS) if not options.act or options.act.lower() in act.name.lower()
    ]
    seconds = options.minutes * 60 / len(acts)
    chapters = []
    for number, act in enumerate(acts):
        print(f"{act.name}: {seconds:.0f} s", flush=True)
        play = play_act if isinstance(act, Act) else play_trial
        chapter = play(act, seconds, options.seed + number)  # type: ignore[operator]
        print(f"    {chapter.verdict}", flush=True)
        chapters.append(chapter)
        write(REPORT, chapters, options.minutes, options.seed)
    print(f"report: {REPORT / 'report.md'}")
    return 0 if all(chapter.holds for chapter in chapters) else 1


def play_trial(trial: Trial, seconds: float, seed: int) -> Chapter:
    """As an act, for what is no storm."""
    seen = trouble = ""
    with tempfile.TemporaryDirectory(prefix="celeriac-chaos-") as name:
        stage = Stage(Path(name), RedisStore(), lease=trial.lease)
        try:
            seen = trial.run(stage, random.Random(seed), seconds)
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
            traceback.print_exc()
        finally:
            close(stage, trial.name, seed, trouble)
    return Chapter(trial.name, seed, (), (), len(stage.sent), stage.reruns(), 0, trouble, seen)


def play_act(act: Act, seconds: float, seed: int) -> Chapter:
    """One act with a stage of its own; what does not hold is told, and the next act goes on."""
    with tempfile.TemporaryDirectory(prefix="celeriac-chaos-") as name:
        folder = Path(name)
        store: Store = RedisStore() if act.driver == "redis" else SqliteStore(folder)
        stage = Stage(folder, store, act.acks, act.lease)
        storm = Storm(stage, seed, rate=act.rate, send=act.send)
        trouble = ""
        try:
            for arguments in act.workers:
                stage.start_worker(*arguments)
            least, most = act.outage
            storm.begin()
            with lasting(least, max(least, min(most, seconds / 4))):
                storm.run_for(seconds, act.faults, act.pause)
            storm.end(120.0)
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
            traceback.print_exc()
        finally:
            close(stage, act.name, seed, trouble)
        return Chapter(
            act.name, seed, storm.samples, storm.faults, len(stage.sent), stage.reruns(),
            len(stage.failed), trouble,
        )  # fmt: skip


def close(stage: Stage, name: str, seed: int, trouble: str) -> None:
    """With the output of its workers beside the report, if there was trouble."""
    log = REPORT / f"{seed}-{name.lower().replace(' ', '-')}.log"
    REPORT.mkdir(exist_ok=True)
    with log.open("w") as file, contextlib.redirect_stdout(file):
        stage.close()
    if not trouble:
        log.unlink()


if __name__ == "__main__":
    sys.exit(main())
