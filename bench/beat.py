"""How much is a scheduler with 100,000 entries: its tick, its memory, and how late is what it sends?

The scheduler is a process of its own (`bench/beat.py measure URL`); entries are put by the script itself.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common.contest import BENCH, Contest, alternate
from common.report import Figure, report
from common.sizes import ROUNDS, scaled

ENTRIES = 100_000
#: Seconds between two occurrences of one entry: 1,000 entries are due each second.
EVERY = 100.0
#: Seconds of the run in which lateness is measured.
SPAN = 10.0
STORES = {"redis": "{redis}", "sqlite": "sqlite:///{folder}/beat-{round}.db"}


def main() -> None:
    with Contest() as contest:
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in STORES}
        rounds = iter(range(10_000))

        def one(store: str) -> float:
            contest.redis.empty()
            url = STORES[store].format(redis=contest.redis.url, folder=contest.folder, round=next(rounds))
            done = subprocess.run(
                [sys.executable, str(Path(__file__)), "measure", url, str(scaled(ENTRIES))],
                cwd=contest.folder,
                env=contest.environment("celeriac"),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            found = json.loads(done.stdout.splitlines()[-1])
            measured[store].append(found)
            return float(found["idle"])

        idle = alternate(list(STORES), ROUNDS, one)

        def each(key: str) -> dict[str, list[float]]:
            return {store: [found[key] for found in rows] for store, rows in measured.items()}

        report(
            "beat",
            f"A scheduler with {scaled(ENTRIES):,} entries",
            [
                Figure("tick with nothing due", "ms", idle, more=False),
                Figure("tick with ten due", "ms", each("ten"), more=False),
                Figure("memory of the scheduler", "MiB", each("memory"), more=False),
                Figure("sent per second", "messages/s", each("rate")),
                Figure("lateness, median", "ms", each("median"), more=False),
                Figure("lateness, p99", "ms", each("p99"), more=False),
            ],
            redis=contest.redis.version,
            notes=f"Lateness at {scaled(ENTRIES) / EVERY:,.0f} due each second, for {SPAN:g} s.",
        )


def measure(url: str, entries: int) -> None:
    """In the process of the scheduler."""
    from celeriac import Celery
    from celeriac.beat.leading import Scheduler
    from celeriac.planned import Change, Plan, Tick
    from celeriac.schedules import schedule
    from celeriac.schedules.entry import read_entry, spec_of

    class Watched(Scheduler):
        """Notes how late each plan was when its message was in the store."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.late: list[float] = []

        def _send(self, found: Tick) -> list[int]:
            moved = super()._send(found)
            now = time.time() * 1000
            self.late += [now - plan.due for plan in found.plans]
            return moved

    app = Celery("bench", broker=url)
    store = app.open_schedules()
    spec = spec_of(read_entry("job", {"task": "bench.job", "schedule": schedule(EVERY), "args": (1, "two")}))
    # Far away: whatever it takes to put them, nothing is due before it is asked for.
    begin = time.time() + 1_000_000
    for first in range(0, entries, 500):
        changes = []
        for n in range(first, min(first + 500, entries)):
            due = int((begin + n * EVERY / entries) * 1000)
            changes.append(Change(Plan(f"job {n}", spec, occurrence=due, due=due)))
        store.write(changes)

    clock = [time.time()]
    scheduler = Watched(app, store, "bench", 60.0, clock=lambda: clock[0])
    scheduler.tick()
    idle = timed(scheduler.tick, 200)
    tens = []
    for _ in range(50):
        clock[0] = begin + len(scheduler.late) * EVERY / entries + 9.5 * EVERY / entries
        tens.append(timed(scheduler.tick, 1))
    # From here on by the true clock: everything before it is forgotten, by a jump of the beginning.
    scheduler.late.clear()
    rest = begin + 600 * EVERY / entries - time.time()
    scheduler._clock = lambda: time.time() + rest
    began = time.monotonic()
    late: list[float] = []
    while time.monotonic() - began < SPAN:
        pause = scheduler.tick()
        if pause > 0:
            time.sleep(pause)
        late += [one + rest * 1000 for one in scheduler.late]
        scheduler.late.clear()
    late = sorted(late[len(late) // 10 :])
    print(
        json.dumps(
            {
                "idle": idle,
                "ten": statistics.median(tens),
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "rate": len(late) / 0.9 / SPAN,
                "median": late[len(late) // 2],
                "p99": late[len(late) * 99 // 100],
            }
        )
    )
    app.close()


def timed(work: object, times: int) -> float:
    """Median milliseconds of a call."""
    assert callable(work)
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        assert BENCH
        main()
