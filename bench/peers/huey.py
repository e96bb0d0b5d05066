"""Huey: worker processes on Redis, or on SQLite."""

from __future__ import annotations

import sys

from huey import RedisHuey, SqliteHuey

from peers import work

if work.BROKER.startswith("sqlite:///"):
    huey = SqliteHuey("bench", filename=work.BROKER.removeprefix("sqlite:///"), results=work.RESULTS)
else:
    huey = RedisHuey("bench", url=work.BROKER, results=work.RESULTS)


@huey.task()
def append():
    return work.append()


@huey.task()
def stamp_():
    return work.stamp()


@huey.task()
def spin_(seconds):
    return work.spin(seconds)


def worker(processes):
    command = [sys.executable, "-m", "huey.bin.huey_consumer", "peers.huey.huey", "-q"]
    return [*command, "-k", "process", "-w", str(processes)]


def enqueue(n):
    for _ in range(n):
        append()


load = enqueue


def stamp():
    stamp_()


def round_trip():
    # Its default looks only every 0.05 s and rarer.
    append().get(blocking=True, timeout=10, backoff=1, max_delay=0.0005)


def spin(n, seconds):
    for _ in range(n):
        spin_(seconds)
