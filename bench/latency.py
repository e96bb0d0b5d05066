"""How soon does an idle worker begin a task, and how soon is its result back with the caller?"""

from __future__ import annotations

from statistics import median, quantiles

from common.contest import Contest, alternate
from common.report import Figure, report
from common.sizes import ROUNDS, chosen, scaled

#: Calls of one round, each at a random moment.
CALLS = 30
#: RQ takes 50 ms and more for each.
FEW = {"rq": 5}


def main() -> None:
    with Contest(results=True) as contest:

        def one_round(name: str) -> tuple[list[float], list[float]]:
            n = scaled(FEW.get(name, CALLS))
            contest.redis.empty()
            with contest.worker(name) as worker:
                contest.warm_up(name, worker, 20)
                contest.ledger(name).clear()
                client = contest.client(name)
                client.ask("round_trips", 3)
                starts, trips = client.ask("start_latencies", n), client.ask("round_trips", n)
            return [1000 * s for s in starts], [1000 * s for s in trips]

        rounds = alternate(chosen(), ROUNDS, one_round)
        report(
            "latency",
            "Latency of an idle worker",
            [
                Figure("start p50", "ms", _of_each(rounds, 0, median), more=False),
                Figure("start p99", "ms", _of_all(rounds, 0, _p99), more=False),
                Figure("result p50", "ms", _of_each(rounds, 1, median), more=False),
                Figure("result p99", "ms", _of_all(rounds, 1, _p99), more=False),
            ],
            redis=contest.redis.version,
            notes="Start: from the call to the task's first line. Result: from the call to its result "
            "in hand. p99 is taken over all rounds together.",
        )


def _of_each(rounds, which, figure):
    return {name: [figure(found[which]) for found in all_] for name, all_ in rounds.items()}


def _of_all(rounds, which, figure):
    return {name: [figure([s for found in all_ for s in found[which]])] for name, all_ in rounds.items()}


def _p99(values):
    return quantiles(values, n=100, method="inclusive")[98]


if __name__ == "__main__":
    main()
