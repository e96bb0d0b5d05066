"""RQ: a pool of workers, each forking a process for every job."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from redis import Redis
from rq import Queue

from peers import work

queue = Queue(connection=Redis.from_url(work.BROKER))
#: Seconds that a result is kept.
TTL = 500 if work.RESULTS else 0


def worker(processes):
    command = [str(Path(sys.executable).parent / "rq"), "worker-pool", "-q", "-u", work.BROKER]
    return [*command, "-n", str(processes)]


def enqueue(n):
    for _ in range(n):
        queue.enqueue(work.append, result_ttl=TTL)


load = enqueue


def stamp():
    queue.enqueue(work.stamp, result_ttl=TTL)


def round_trip():
    job = queue.enqueue(work.append, result_ttl=TTL)
    while job.return_value(refresh=True) is None:
        time.sleep(0.0005)


def spin(n, seconds):
    for _ in range(n):
        queue.enqueue(work.spin, seconds, result_ttl=TTL)
