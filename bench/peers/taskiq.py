"""Taskiq with taskiq-redis: worker processes with an asyncio loop each, the list queue broker."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from peers import work

# redis-py 8 gives up a read after 5 s by itself, and an idle worker would end and start anew all the time.
broker = ListQueueBroker(work.BROKER, socket_timeout=None)
if work.RESULTS:
    broker = broker.with_result_backend(RedisAsyncResultBackend(work.BROKER))


@broker.task
async def append():
    return work.append()


@broker.task
async def stamp_():
    return work.stamp()


@broker.task
async def nap_(seconds: float):
    await asyncio.sleep(seconds)
    return work.append()


@broker.task
def spin_(seconds: float):
    return work.spin(seconds)


def worker(processes, *options):
    command = [str(Path(sys.executable).parent / "taskiq"), "worker", "peers.taskiq:broker"]
    return [*command, "-w", str(processes), "--log-level", "WARNING", *options]


def coroutine_worker():
    return worker(1, "--max-async-tasks", "1000")


_runner = asyncio.Runner()


def enqueue(n):
    async def one_after_another():
        for _ in range(n):
            await append.kiq()

    _runner.run(one_after_another())


def load(n, task=append, *arguments):
    async def many_at_once():
        for start in range(0, n, 20):
            await asyncio.gather(*(task.kiq(*arguments) for _ in range(min(20, n - start))))

    _runner.run(many_at_once())


def load_async(n):
    load(n)


def stamp():
    _runner.run(_call(stamp_))


def round_trip():
    async def call_and_wait():
        task = await append.kiq()
        # Its default looks only every 0.2 s.
        await task.wait_result(check_interval=0.0005, timeout=10)

    _runner.run(call_and_wait())


def nap(n, seconds):
    load(n, nap_, seconds)


def spin(n, seconds):
    load(n, spin_, seconds)


async def _call(task):
    await task.kiq()
