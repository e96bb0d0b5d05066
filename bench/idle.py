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
from common.usage import cpu_exact

#: Seconds between the last start and the clock: all that belongs to the start is over.
SETTLE = 3.0
#: Seconds of one round.
WATCHED = 5.0


def main() -> None:
    with ExitStack() as running:
        teams: dict[str, tuple[Contest, Program]] = {}
        for name in chosen():
            contest = running.enter_context(Contest())
            worker = running.enter_context(contest.worker(name))
            contest.warm_up(name, worker, 20)
            teams[name] = contest, worker
        time.sleep(SETTLE)
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in teams}
        for _ in range(ROUNDS):
            for name, found in watch(teams, WATCHED * SCALE).items():
                rounds[name].append(found)
        report(
            "idle",
            "An idle worker of two processes",
            [
                Figure("Redis commands", "per s", column(rounds, 0), more=False, middle=mean),
                Figure("CPU", "% of a core", column(rounds, 1), more=False, middle=mean),
            ],
            redis=next(iter(teams.values()))[0].redis.version,
            notes="Commands in scripts are counted one by one. Means over all rounds, since one command in "
            "several seconds falls into some rounds and not into others.",
        )


def watch(teams: dict[str, tuple[Contest, Program]], seconds: float) -> dict[str, tuple[float, float]]:
    """(Redis commands a second, CPU in per cent of a core) of each."""
    before = {name: (_commands(contest), cpu_exact(worker.tree)) for name, (contest, worker) in teams.items()}
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    found = {}
    for name, (contest, worker) in teams.items():
        commands, used = before[name]
        # Asking is a command too.
        found[name] = (
            (_commands(contest) - commands - 1) / passed,
            100 * (cpu_exact(worker.tree) - used) / passed,
        )
    return found


def _commands(contest: Contest) -> int:
    return int(contest.redis.info("stats")["total_commands_processed"])


if __name__ == "__main__":
    main()
