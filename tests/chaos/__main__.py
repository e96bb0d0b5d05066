"""The long run: `make chaos MINUTES=30 SEED=n`, or a row at its full length: `make chaos ROW=1 FULL=1`.

One storm after the other, then a report with plots.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from chaos.failover import ReplicatedStore, hand_over
from chaos.faults import (
    CONNECTIONS,
    OUTAGES,
    PROCESSES,
    Fault,
    Inflict,
    freeze_a_worker,
    kill_a_child,
    lasting,
    pause_redis_for_long,
)
from chaos.length import Full, Length, full, within
from chaos.report import Chapter, assert_flat, write
from chaos.stage import RedisStore, SqliteStore, Stage, Store
from chaos.storm import Send, Storm, send_a_mix, send_anything, send_work
from chaos.trials import TRIALS, Trial

REPORT = Path(__file__).parent / "report"
#: Samples from which on a slope of memory can be told from its noise.
LONG = 1000


class Act(NamedTuple):
    """One storm of the play."""

    name: str
    #: That of the promise which it tests, see docs/reliability.md; and how much of it a full length is.
    row: int
    full: Full
    #: redis, replicas (of Redis) or sqlite.
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
    #: Messages that may be ready before the producer waits.
    ahead: float = math.inf
    #: Of each worker.
    env: Mapping[str, str] = {}
    #: What redis-server is told besides.
    redis: Sequence[str] = ()
    #: Seconds that may pass without any task beginning.
    stall: float = math.inf
    #: Seconds within which 99 of 100 tasks must begin after they were sent.
    wait: float = math.inf
    #: Nobody dies in it, so nothing of anybody's memory or descriptors may grow.
    flat: bool = False


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

STORM, PLACES = Full(50_000), ("-c", "2", "--max-tasks-per-child", "1", "--pool-start-method")
#: For runs that send more than a log on disk should hold: nothing kills Redis in them.
FORGETFUL = ("--appendonly", "no")

ACTS = (
    Act("Kills and cuts on Redis", 1, STORM, "redis", TWO,
        (*PROCESSES, *CONNECTIONS, *OUTAGES), (0.5, 3.0)),
    Act("Zombies on Redis", 2, STORM, "redis", TWO,
        (freeze_a_worker, kill_a_child, *CONNECTIONS), (0.5, 3.0)),
    Act("Long outages, every pool", 3, Full(200, "faults"), "redis", (*EVERY_POOL, ("-P", "solo")),
        (*CONNECTIONS, *OUTAGES, pause_redis_for_long), (1.0, 5.0),
        outage=(5.0, 60.0), lease=30.0, rate=50.0, flat=True),
    Act("Threads on Redis", 1, STORM, "redis", (("-P", "threads", "-c", "8"),) * 2,
        (*PROCESSES, *CONNECTIONS, *OUTAGES), (0.5, 3.0)),
    Act("Coroutines on Redis", 1, STORM, "redis", (("-P", "asyncio", "-c", "8"),) * 2,
        (*PROCESSES, *CONNECTIONS, *OUTAGES), (0.5, 3.0)),
    Act("Greenlets on Redis", 1, STORM, "redis", (("-P", "gevent", "-c", "8"),) * 2,
        (*PROCESSES, *CONNECTIONS, *OUTAGES), (0.5, 3.0)),
    Act("Acknowledged early", 1, STORM, "redis", TWO,
        (*PROCESSES, *CONNECTIONS), (0.5, 3.0), acks="early"),
    Act("Acknowledged early, every pool", 1, STORM, "redis", EVERY_POOL,
        (freeze_a_worker, *PROCESSES, *CONNECTIONS, *OUTAGES), (0.5, 3.0), acks="early"),
    Act("Acknowledged early on SQLite", 12, STORM, "sqlite", TWO,
        (*PROCESSES, freeze_a_worker), (0.5, 3.0), acks="early"),
    Act("One task a child, forked", 6, Full(200_000), "redis", ((*PLACES, "fork"),) * 2,
        (kill_a_child,), (0.2, 2.0), lease=30.0, rate=1000.0, send=send_anything, ahead=200,
        env={"CHAOS_CHATTER": "1"}, redis=FORGETFUL, stall=5.0),
    Act("One task a child, spawned", 6, Full(5_000), "redis", ((*PLACES, "spawn"),) * 2,
        (kill_a_child,), (1.0, 5.0), lease=30.0, rate=1000.0, send=send_anything, ahead=50,
        env={"CHAOS_CHATTER": "1"}, redis=FORGETFUL, stall=5.0),
    Act("Kills on SQLite", 12, STORM, "sqlite", TWO, (*PROCESSES, freeze_a_worker), (0.5, 3.0)),
    Act("Threads on SQLite", 12, STORM, "sqlite", (("-P", "threads", "-c", "8"),) * 2,
        PROCESSES, (0.5, 3.0)),
    Act("Failover in order, every pool", 13, Full(200, "faults"), "replicas", EVERY_POOL,
        (hand_over, hand_over, *PROCESSES, *CONNECTIONS), (0.5, 3.0)),
    Act("Rolling restarts", 5, Full(100, "faults"), "redis", (("-c", "1"),) * 6,
        (roll,), (0.1, 1.0), lease=30.0, rate=60.0, send=send_work, wait=2.0),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--minutes", type=float, help="of all together (30); with --full of each, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--act", help="only acts with these words in their name")
    parser.add_argument("--row", type=int, help="only acts of this row of the promise")
    parser.add_argument("--full", action="store_true", help="each as long as the promise asks for")
    parser.add_argument("--size", type=int, help="each until it has done so much of what it counts")
    parser.add_argument(
        "--acks", choices=("late", "early"), help="every storm with this kind of acknowledgement"
    )
    parser.add_argument("--report", type=Path, default=REPORT, help="the folder of the report")
    options = parser.parse_args()
    # A trial has its own kind; of storms every one has its twin.
    storms = [act._replace(acks=options.acks or act.acks) for act in ACTS]
    acts: list[Act | Trial] = [
        act
        for act in (*storms, *(() if options.acks else TRIALS))
        if (not options.act or options.act.lower() in act.name.lower()) and options.row in (None, act.row)
    ]
    if not acts:
        names = "\n".join(f"  row {act.row}: {act.name}" for act in (*ACTS, *TRIALS))
        print(f"nothing is called so; there are\n{names}")
        return 2
    options.report.mkdir(parents=True, exist_ok=True)
    chapters = []
    for number, act in enumerate(acts):
        length = length_of(act, options, len(acts))
        print(f"{act.name} (row {act.row}): {length}", flush=True)
        play = play_act if isinstance(act, Act) else play_trial
        chapter = play(act, length, options.seed + number, options.report)  # type: ignore[operator]
        print(f"    {chapter.verdict}", flush=True)
        chapters.append(chapter)
        write(options.report, chapters, " ".join(sys.argv[1:]))
    print(f"report: {options.report / 'report.md'}")
    return 0 if all(chapter.holds for chapter in chapters) else 1


def length_of(act: Act | Trial, options: argparse.Namespace, acts: int) -> Length:
    """As the command line wants it."""
    wanted = act.full if options.size is None else Full(options.size, act.full.of)
    if not options.full and options.size is None:
        return within((options.minutes or 30.0) * 60 / acts, wanted)
    if options.minutes is not None:
        return within(options.minutes * 60, wanted)
    return full(wanted)


def open_store(play: Act | Trial, folder: Path) -> Store:
    if play.driver == "sqlite":
        return SqliteStore(folder)
    return ReplicatedStore(*play.redis) if play.driver == "replicas" else RedisStore(*play.redis)


def play_trial(trial: Trial, length: Length, seed: int, report: Path) -> Chapter:
    """As an act, for what is no storm."""
    seen = trouble = ""
    with tempfile.TemporaryDirectory(prefix="celeriac-chaos-") as name:
        stage = Stage(Path(name), open_store(trial, Path(name)), lease=trial.lease)
        try:
            seen = trial.run(stage, random.Random(seed), length)
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
            traceback.print_exc()
        finally:
            close(stage, trial.name, seed, trouble, report)
    return Chapter(trial.name, seed, stage.samples, (), len(stage.sent), stage.reruns(), 0, trouble, seen)


def play_act(act: Act, length: Length, seed: int, report: Path) -> Chapter:
    """One act with a stage of its own; what does not hold is told, and the next act goes on."""
    with tempfile.TemporaryDirectory(prefix="celeriac-chaos-") as name:
        folder = Path(name)
        store = open_store(act, folder)
        stage = Stage(folder, store, act.acks, act.lease)
        storm = Storm(stage, seed, rate=act.rate, send=act.send, ahead=act.ahead)
        trouble, stall, wait = "", 0.0, 0.0

        def goes_on() -> bool:
            return length.lasts(len(storm.faults) if length.of == "faults" else len(stage.sent))

        try:
            for arguments in act.workers:
                stage.start_worker(*arguments, **act.env)
            least, most = act.outage
            storm.begin()
            with lasting(least, max(least, min(most, length.seconds / 4))):
                storm.run_while(goes_on, act.faults, act.pause)
            storm.end(120.0)
            stall = storm.longest_stall()
            assert stall < act.stall, f"no task began for {stall:.1f} s"
            wait = storm.usual_wait()
            assert wait < act.wait, f"1 of 100 tasks waited for {wait:.1f} s and more"
            if act.flat and len(stage.samples) > LONG:
                assert_flat(stage.samples)
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
            traceback.print_exc()
        finally:
            close(stage, act.name, seed, trouble, report)
        return Chapter(
            act.name, seed, stage.samples, storm.faults, len(stage.sent), stage.reruns(),
            len(stage.failed), trouble, stall=stall if act.stall < math.inf else 0.0,
            wait=wait if act.wait < math.inf else 0.0,
        )  # fmt: skip


def close(stage: Stage, name: str, seed: int, trouble: str, report: Path) -> None:
    """With the output of its workers beside the report, if there was trouble."""
    log = report / f"{seed}-{name.lower().replace(' ', '-')}.log"
    with log.open("w") as file, contextlib.redirect_stdout(file):
        stage.close()
    if not trouble:
        log.unlink()


if __name__ == "__main__":
    sys.exit(main())
