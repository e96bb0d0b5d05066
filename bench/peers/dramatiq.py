"""Dramatiq: processes with threads, Redis broker and backend."""

from __future__ import annotations

import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from peers import work

broker = RedisBroker(url=work.BROKER)
if work.RESULTS:
    broker.add_middleware(Results(backend=RedisBackend(url=work.BROKER)))
dramatiq.set_broker(broker)
options = {"store_results": True} if work.RESULTS else {}


@dramatiq.actor(**options)
def append():
    value = work.append()
    # A value that nobody stores is a warning each time.
    return value if work.RESULTS else None


@dramatiq.actor
def stamp_():
    work.stamp()


@dramatiq.actor
def spin_(seconds):
    work.spin(seconds)


def worker(processes):
    return [sys.executable, "-m", "dramatiq", "peers.dramatiq", "-p", str(processes)]


def enqueue(n):
    for _ in range(n):
        append.send()


load = enqueue


def stamp():
    stamp_.send()


def round_trip():
    append.send().get_result(block=True, timeout=10_000)


def spin(n, seconds):
    for _ in range(n):
        spin_.send(seconds)
