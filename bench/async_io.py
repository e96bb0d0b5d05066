"""How do coroutines fare in one process: a thousand that wait a second, and many that do nothing?"""

from __future__ import annotations

import time

from common.contest import Contest, alternate
from common.report import Figure, report
from common.sizes import ROUNDS, chosen, scaled

WAITING = 1000
SECONDS = 1.0
#: Messages of a drain: about a second for each system.
SIZES = {"celeriac": 15_000, "taskiq": 1_500, "saq": 1_500}


def main() -> None:
    with Contest() as contest:
        names = chosen(*SIZES)

        def waiting(name: str) -> float:
            contest.redis.empty()
            ledger = contest.ledger(name)
            client = contest.client(name)
            with contest.worker(name, command=client.command("coroutine_worker")) as worker:
                contest.warm_up(name, worker)
                worker.pause()
                client.do("nap", WAITING, SECONDS)
                ledger.clear()
                began = time.monotonic()
                worker.resume()
                return ledger.wait_for(WAITING, worker) - began

        def draining(name: str) -> float:
            contest.redis.empty()
            n = scaled(SIZES[name])
            ledger = contest.ledger(name)
            ledger.clear()
            client = contest.client(name)
            client.do("load_async", n)
            with contest.worker(name, command=client.command("coroutine_worker")) as worker:
                began = ledger.wait_for(n // 10, worker)
                counted = ledger.length
                return (n - counted) / (ledger.wait_for(n, worker) - began)

        report(
            "async_io",
            "Coroutines in one process",
            [
                Figure("1,000 that wait 1 s", "s", alternate(names, ROUNDS, waiting), more=False),
                Figure("drain of empty ones", "tasks/s", alternate(names, ROUNDS, draining)),
            ],
            redis=contest.redis.version,
            notes="Up to 1,000 at once in every system.",
        )


if __name__ == "__main__":
    main()
