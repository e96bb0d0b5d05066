"""How close to perfect do two processes come with tasks that compute for 50 ms each?"""

from __future__ import annotations

import subprocess
import sys
import time

from common.contest import Contest, alternate
from common.report import Figure, column, report
from common.sizes import ROUNDS, chosen, scaled
from common.usage import cpu

TASKS = 30
SECONDS = 0.05
PROCESSES = 2
BARE = "bare loop"


def main() -> None:
    with Contest(results=True) as contest:

        def one_round(name: str) -> tuple[float, float]:
            n = scaled(TASKS)
            if name == BARE:
                return bare(contest, n), 1.0
            contest.redis.empty()
            ledger = contest.ledger(name)
            with contest.ready_worker(name, PROCESSES) as worker:
                ledger.clear()
                worker.pause()
                contest.client(name).do("spin", n, SECONDS)
                before = cpu(worker.tree)
                began = time.monotonic()
                worker.resume()
                ended = ledger.wait_for(n, worker)
                used = cpu(worker.tree) - before
            return n / (ended - began), used / (n * SECONDS)

        rounds = alternate([*chosen(), BARE], ROUNDS, one_round)
        speeds = column(rounds, 0)
        perfect = speeds[BARE]
        report(
            "cpu_bound",
            "Tasks of 50 ms of computing, two processes",
            [
                Figure("speed", "tasks/s", speeds),
                Figure(
                    "of a bare loop", "%", {name: relative(found, perfect) for name, found in speeds.items()}
                ),
                Figure("CPU used", "times the tasks' own", column(rounds, 1), more=False),
            ],
            redis=contest.redis.version,
            notes=f"{BARE}: two processes that compute the same, half each, with no queue; "
            f"an idle machine would do {PROCESSES / SECONDS:.0f} tasks a second.",
        )


def relative(found: list[float], perfect: list[float]) -> list[float]:
    """Each round against the bare loop of the same round: the machine may have been busy."""
    return [100 * one / best for one, best in zip(found, perfect, strict=False)]


def bare(contest: Contest, n: int) -> float:
    """Tasks a second of two processes that compute without a queue."""
    code = f"from peers import work\nfor _ in range({n // PROCESSES}): work.spin({SECONDS})"
    environment = contest.environment("bare")
    began = time.monotonic()
    computing = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(PROCESSES)]
    for process in computing:
        process.wait()
    return n / (time.monotonic() - began)


if __name__ == "__main__":
    main()
