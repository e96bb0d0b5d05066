"""How long from the start of a worker to its first task?"""

from __future__ import annotations

import time

from common.contest import Contest, alternate
from common.report import Figure, column, report
from common.sizes import ROUNDS, chosen

FEW, MANY = 2, 8


def main() -> None:
    with Contest() as contest:
        rounds = alternate(
            chosen(), ROUNDS, lambda name: tuple(first_task(contest, name, n) for n in (FEW, MANY))
        )
        report(
            "startup",
            "From the start of a worker to its first task",
            [
                Figure("two processes", "s", column(rounds, 0), more=False),
                Figure("eight processes", "s", column(rounds, 1), more=False),
            ],
            redis=contest.redis.version,
            notes="The message waits already.",
        )


def first_task(contest: Contest, name: str, processes: int) -> float:
    """Seconds from the start of the command until a message that waited has been run."""
    contest.redis.empty()
    ledger = contest.ledger(name)
    ledger.clear()
    client = contest.client(name)
    client.do("load", 1)
    command = client.command("worker", processes)
    began = time.monotonic()
    with contest.worker(name, processes, command=command) as worker:
        return ledger.wait_for(1, worker) - began


if __name__ == "__main__":
    main()
