"""SAQ: worker processes with an asyncio loop each, its queue on Redis."""

from __future__ import annotations

import asyncio
import sys

import saq

from peers import work

queue = saq.Queue.from_url(work.BROKER)
#: Seconds that a result is kept; SAQ's word for not at all is -1.
TTL = 600 if work.RESULTS else -1


async def append(_context):
    return work.append()


async def stamp_(_context):
    return work.stamp()


async def nap_(_context, *, seconds):
    await asyncio.sleep(seconds)
    return work.append()


async def spin_(_context, *, seconds):
    return work.spin(seconds)


settings = {"queue": queue, "functions": [append, stamp_, nap_, spin_]}
wide_settings = {**settings, "concurrency": 1000}


def worker(processes, of="settings"):
    return [sys.executable, "-m", "saq", f"peers.saq.{of}", "--workers", str(processes), "--quiet"]


def coroutine_worker():
    return worker(1, "wide_settings")


_runner = asyncio.Runner()


def enqueue(n):
    async def one_after_another():
        for _ in range(n):
            await queue.enqueue("append", ttl=TTL)

    _runner.run(one_after_another())


def load(n, name="append", **arguments):
    async def many_at_once():
        for start in range(0, n, 20):
            calls = (queue.enqueue(name, ttl=TTL, **arguments) for _ in range(min(20, n - start)))
            await asyncio.gather(*calls)

    _runner.run(many_at_once())


def load_async(n):
    load(n)


def stamp():
    async def call():
        await queue.enqueue("stamp_", ttl=TTL)

    _runner.run(call())


def round_trip():
    async def call_and_wait():
        job = await queue.enqueue("append", ttl=TTL)
        # Its own waiting misses a job that ends before it listens.
        while not job.completed:
            await asyncio.sleep(0.0005)
            await job.refresh()

    _runner.run(call_and_wait())


def nap(n, seconds):
    load(n, "nap_", seconds=seconds, timeout=60)


def spin(n, seconds):
    load(n, "spin_", seconds=seconds, timeout=60)
