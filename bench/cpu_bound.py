"""How close to perfect do two processes come with tasks that compute for 50 ms each?"""

from __future__ import annotations

from common.contest import Contest, alternate
from common.report import Figure, column, report
from common.sizes import ROUNDS, chosen, scaled
from common.usage import cpu

TASKS = 30
SECONDS = 0.05
PROCESSES = 2


def main() -> None:
    with Contest(results=True) as contest:

        def one_round(name: str) -> tuple[float, float]:
            n = scaled(TASKS)
            contest.redis.empty()
            ledger = contest.ledger(name)
            with contest.ready_worker(name, PROCESSES) as worker:
                ledger.clear()
                contest.client(name).do("spin", n, SECONDS)
                seen = ledger.length
                began = ledger.wait_for(seen + 1, worker)
                begun, before = ledger.length, cpu(worker.tree)
                ended = ledger.wait_for(n, worker)
                used = cpu(worker.tree) - before
            done = n - begun
            return 100 * done * SECONDS / PROCESSES / (ended - began), used / (done * SECONDS)

        rounds = alternate(chosen(), ROUNDS, one_round)
        report(
            "cpu_bound",
            "Tasks of 50 ms of computing, two processes",
            [
                Figure("of perfect", "%", column(rounds, 0)),
                Figure("CPU used", "times the tasks' own", column(rounds, 1), more=False),
            ],
            redis=contest.redis.version,
            notes="Perfect is: both processes compute all the time, on a core each.",
        )


if __name__ == "__main__":
    main()
