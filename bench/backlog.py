"""What does a long queue cost: draining with many waiting, and many messages that wait for their time?

The million of the title is reached with BENCH_SCALE=5; by default it is 200,000, which takes under a minute.
"""

from __future__ import annotations

import time

from common.contest import Contest, alternate
from common.report import Figure, report
from common.sizes import ROUNDS, scaled
from common.usage import memory

SHORT = 10_000
#: How many tasks are timed, whatever waits behind them.
TIMED = 8_000
DELAYED = 10
HOURS = 3600


def main() -> None:
    many = scaled(200_000)
    with Contest() as contest:
        waiting = {f"{SHORT:,} waiting": SHORT, f"{many:,} waiting": many}
        drains = alternate(list(waiting), ROUNDS, lambda row: drain(contest, waiting[row]))
        delayed = {"nothing delayed": 0, f"{many:,} delayed": many}
        found = alternate(list(delayed), 1, lambda row: immediate(contest, delayed[row]))
        report(
            "backlog",
            "celeriac: long queues",
            [
                Figure("drain", "tasks/s", drains),
                Figure(
                    "ten immediate tasks",
                    "ms",
                    {row: [f[0] for f in all_] for row, all_ in found.items()},
                    more=False,
                ),
                Figure(
                    "worker memory",
                    "MiB",
                    {row: [f[1] for f in all_] for row, all_ in found.items()},
                    more=False,
                ),
            ],
            redis=contest.redis.version,
        )


def drain(contest: Contest, n: int) -> float:
    """Tasks a second over the first TIMED of n."""
    contest.redis.empty()
    ledger = contest.ledger("celeriac")
    ledger.clear()
    contest.client("celeriac").do("load", n)
    with contest.worker("celeriac") as worker:
        began = ledger.wait_for(1000, worker)
        counted = ledger.length
        ended = ledger.wait_for(counted + TIMED, worker)
        done = ledger.length - counted
    return done / (ended - began)


def immediate(contest: Contest, delayed: int) -> tuple[float, float]:
    """(ms that ten immediate tasks take, MiB of the worker) while so many wait for their time."""
    contest.redis.empty()
    ledger, client = contest.ledger("celeriac"), contest.client("celeriac")
    with contest.ready_worker("celeriac") as worker:
        client.do("load_delayed", delayed, 24 * HOURS)
        time.sleep(1.0)
        ledger.clear()
        began = time.monotonic()
        client.do("enqueue", DELAYED)
        ended = ledger.wait_for(DELAYED, worker)
        together, _ = memory(worker.tree)
    return 1000 * (ended - began), together


if __name__ == "__main__":
    main()
