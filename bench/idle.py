"""What does a worker cost that has nothing to do?

All systems are idle side by side, each with a Redis of its own: none takes enough to disturb another.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from statistics import mean

from common.contest import Contest
from common.programs import Program
from common.report import Figure, column, report
from common.sizes import ROUNDS, SCALE, chosen
from common.usage import cpu

#: Seconds between the last start and the clock: all that belongs to the start is over.
SETTLE = 3.0
#: Seconds of one round.
WATCHED = 20.0


def main() -> None:
    with ExitStack() as running:
        teams: dict[str, tuple[Contest, Program]] = {}
        for name in chosen():
            contest = running.enter_context(Contest())
            worker = running.enter_context(contest.worker(name))
            contest.warm_up(name, worker, 20)
            teams[name] = contest, worker
        time.sleep(SETTLE)
        rounds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in teams}
        for _ in range(ROUNDS):
            for name, found in watch(teams, WATCHED * SCALE).items():
                rounds[name].append(found)
        report(
            "idle",
            "An idle worker of two processes",
            [
                Figure("requests to Redis", "per s", column(rounds, 0), more=False, middle=mean),
                Figure("commands", "per s", column(rounds, 1), more=False, middle=mean),
                Figure("CPU", "% of a core", column(rounds, 2), more=False, middle=mean),
            ],
            redis=next(iter(teams.values()))[0].redis.version,
            notes="A request may hold several commands, as pipelines and scripts do. Means over "
            "all rounds, since one command in several seconds falls into some rounds and not into others.",
        )


def watch(teams: dict[str, tuple[Contest, Program]], seconds: float) -> dict[str, tuple[float, float, float]]:
    """(requests a second, Redis commands a second, CPU in per cent of a core) of each."""
    before = {name: _used(contest, worker) for name, (contest, worker) in teams.items()}
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    found = {}
    for name, (contest, worker) in teams.items():
        requests, commands, used = (n - b for n, b in zip(_used(contest, worker), before[name], strict=True))
        # Asking is a request, a command, and the end of its connection one more.
        found[name] = max(0.0, (requests - 2) / passed), (commands - 1) / passed, 100 * used / passed
    return found


def _used(contest: Contest, worker: Program) -> tuple[float, float, float]:
    stats = contest.redis.info("stats")
    return int(stats["total_reads_processed"]), int(stats["total_commands_processed"]), cpu(worker.tree)


if __name__ == "__main__":
    main()
