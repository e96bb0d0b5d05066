"""How does the cost of celeriac grow: with children, workers, queues, and the size of a message?"""

from __future__ import annotations

from contextlib import ExitStack

from common.contest import Contest, alternate
from common.report import Figure, column, report
from common.sizes import ROUNDS, scaled
from common.usage import cpu

MESSAGES = 20_000
QUEUES = (1, 10, 100)
SIZES = (100, 10_000, 100_000, 1_000_000)
CHILDREN = (1, 2, 4, 8)
WORKERS = (1, 4)


def main() -> None:
    with Contest(results=True) as contest:
        rows: dict[str, dict] = {}
        rows |= {f"{n} children": {"children": n} for n in CHILDREN}
        rows |= {f"{n} workers of 2": {"workers": n} for n in WORKERS}
        rows |= {f"{n} queues": {"queues": n} for n in QUEUES}
        rows |= {f"{size:,} B": {"size": size} for size in SIZES}
        rounds = alternate(list(rows), ROUNDS, lambda row: drain(contest, **rows[row]))
        report(
            "growth",
            "celeriac: drain with results, as things grow",
            [
                Figure("drain", "tasks/s", column(rounds, 0)),
                Figure("worker CPU", "us a task", column(rounds, 1), more=False),
                Figure("Redis CPU", "us a task", column(rounds, 2), more=False),
            ],
            redis=contest.redis.version,
            notes="Two children, one worker, one queue and no arguments, unless the row says otherwise.",
        )


def drain(
    contest: Contest, *, children: int = 2, workers: int = 1, queues: int = 0, size: int = 0
) -> tuple[float, float, float]:
    """(tasks a second, CPU microseconds a task of the workers, the same of Redis)."""
    n = scaled(MESSAGES) if size <= 1000 else max(100, scaled(30_000_000 / size))
    n -= n % max(1, queues)
    contest.redis.empty()
    ledger, client = contest.ledger("celeriac"), contest.client("celeriac")
    ledger.clear()
    command = client.command("worker", children)
    if queues:
        client.do("load_queues", n, queues)
        command += ["-Q", ",".join(f"q{number}" for number in range(queues))]
    elif size:
        client.do("load_data", n, size)
    else:
        client.do("load", n)
    with ExitStack() as running:
        fleet = [running.enter_context(contest.worker("celeriac", command=command)) for _ in range(workers)]
        began = ledger.wait_for(n // 5, fleet[0])
        counted = ledger.length
        before, redis_before = sum(cpu(w.tree) for w in fleet), cpu(contest.redis.program.tree)
        ended = ledger.wait_for(n, fleet[0])
        used = sum(cpu(w.tree) for w in fleet) - before
        redis_used = cpu(contest.redis.program.tree) - redis_before
    done = n - counted
    return done / (ended - began), used * 1e6 / done, redis_used * 1e6 / done


if __name__ == "__main__":
    main()
