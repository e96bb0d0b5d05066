"""How much memory does an idle worker take, and how much does each further process add?"""

from __future__ import annotations

import time

from common.contest import Contest, alternate
from common.report import Figure, column, report
from common.sizes import ROUNDS, chosen
from common.usage import memory

#: Tasks that the worker has run before it is looked at: what is only loaded at the first task is there.
BEFORE = 100
FEW, MANY = 2, 6


def main() -> None:
    with Contest(results=True) as contest:

        def one_round(name: str) -> tuple[float, float]:
            few, many = (worker_memory(contest, name, processes) for processes in (FEW, MANY))
            return few, (many - few) / (MANY - FEW)

        rounds = alternate(chosen(), ROUNDS, one_round)
        report(
            "memory",
            "Memory of a worker that has run a hundred tasks",
            [
                Figure("two processes", "MiB", column(rounds, 0), more=False),
                Figure("each further one", "MiB", column(rounds, 1), more=False),
            ],
            redis=contest.redis.version,
            notes="PSS of the whole tree of processes: shared pages are counted once.",
        )


def worker_memory(contest: Contest, name: str, processes: int) -> float:
    """MiB of the whole worker."""
    contest.redis.empty()
    with contest.worker(name, processes) as worker:
        contest.warm_up(name, worker, 10 if name == "rq" else BEFORE)
        time.sleep(0.2)
        together, _ = memory(worker.tree)
    return together


if __name__ == "__main__":
    main()
