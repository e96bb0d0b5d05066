"""The question of both drains: how fast does a worker of two processes empty a queue that is full?"""

from __future__ import annotations

from common.contest import Contest, alternate
from common.report import Figure, column, report
from common.sizes import ROUNDS, chosen, scaled
from common.usage import cpu

#: Messages of one round: about a second of work for each system.
SIZES = {
    "celeriac": 30_000,
    "celery": 600,
    "huey": 3_000,
    "dramatiq": 2_500,
    "taskiq": 2_500,
    "saq": 1_500,
    "rq": 40,
}
#: The part of a round before its clock starts: by then all processes are up and run.
WARM = 0.15


def drain(question: str, title: str, *, results: bool) -> None:
    with Contest(results=results) as contest:
        rounds = alternate(chosen(), ROUNDS, lambda name: one_round(contest, name))
        report(
            question,
            title,
            [
                Figure("drain", "tasks/s", column(rounds, 0)),
                Figure("worker CPU", "ms per 1,000 tasks", column(rounds, 1), more=False),
                Figure("Redis CPU", "ms per 1,000 tasks", column(rounds, 2), more=False),
            ],
            redis=contest.redis.version,
        )


def one_round(contest: Contest, name: str) -> tuple[float, float, float]:
    """(tasks a second, CPU milliseconds of the worker for 1,000 tasks, the same of Redis)."""
    n = scaled(SIZES[name])
    contest.redis.empty()
    ledger = contest.ledger(name)
    ledger.clear()
    contest.client(name).do("load", n)
    with contest.worker(name) as worker:
        began = ledger.wait_for(int(n * WARM), worker)
        counted = ledger.length
        before, redis_before = cpu(worker.tree), cpu(contest.redis.program.tree)
        ended = ledger.wait_for(n, worker)
        used, redis_used = cpu(worker.tree) - before, cpu(contest.redis.program.tree) - redis_before
    done = n - counted
    return done / (ended - began), used * 1e6 / done, redis_used * 1e6 / done
