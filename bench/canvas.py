"""What do workflows cost: sending a group, a task in the header of a chord, a step of a chain?"""

from __future__ import annotations

import time
from collections import Counter

from common.contest import Contest, alternate
from common.report import Figure, column, report
from common.sizes import ROUNDS, chosen, scaled

#: Tasks of one group or chord: Celery takes seconds for each thousand.
SIZES = {"celeriac": 10_000, "celery": 1_000}
STEPS = 100


def main() -> None:
    played: Counter[str] = Counter()
    with Contest(results=True) as contest:

        def one_round(name: str) -> tuple[float, float, float, float]:
            n = scaled(SIZES[name])
            # What comes second finds a fuller Redis, and workers that are warm.
            played[name] += 1
            group_first = played[name] % 2 == 1
            contest.redis.empty()
            client, ledger = contest.client(name), contest.ledger(name)
            with contest.ready_worker(name) as worker:

                def drained(word: str, tasks: int) -> tuple[float, float]:
                    """Tasks sent in a second while the worker stands still, then run in a second."""
                    worker.pause()
                    ledger.clear()
                    sent = n / client.do(word, n)
                    began = time.monotonic()
                    worker.resume()
                    return sent, n / (ledger.wait_for(tasks, worker) - began)

                header = 0.0 if group_first else drained("send_chord", n + 1)[1]
                sent, plain = drained("send_group", n)
                header = header or drained("send_chord", n + 1)[1]
                client.do("run_chain", 5)
                return sent, plain, plain / header, 1000 * client.do("run_chain", STEPS) / STEPS

        rounds = alternate(chosen("celeriac", "celery"), ROUNDS, one_round)
        report(
            "canvas",
            "Workflows, two worker processes, every result stored",
            [
                Figure("group sent", "tasks/s", column(rounds, 0)),
                Figure("group run", "tasks/s", column(rounds, 1)),
                Figure("task of a header / plain task", "x", column(rounds, 2), more=False),
                Figure("step of a chain", "ms", column(rounds, 3), more=False),
            ],
            redis=contest.redis.version,
            notes="A task of a header: a chord is run up to the end of its body, and its time divided by "
            f"that of a group of the same tasks ({SIZES['celeriac']:,} here, {SIZES['celery']:,} in Celery).",
        )


if __name__ == "__main__":
    main()
