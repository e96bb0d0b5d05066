"""Celeriac: this project."""

from __future__ import annotations

import sys
from importlib import import_module
from itertools import repeat
from typing import Any

from celeriac import Celery, chain, chord, group
from peers import work

app = Celery("peers.celeriac", broker=work.BROKER, backend=work.BROKER if work.RESULTS else None)
app.conf.task_ignore_result = not work.RESULTS


@app.task
def append() -> int:
    return work.append()


@app.task
def stamp_() -> int:
    return work.stamp()


@app.task
def spin_(seconds: float) -> int:
    return work.spin(seconds)


@app.task
def swallow(data: str) -> int:
    return work.append()


def worker(processes: int, *options: str) -> list[str]:
    return _command(*(options or ("-c", str(processes))))


def coroutine_worker() -> list[str]:
    return _command("-I", "peers.celeriac_async", "-P", "asyncio", "-c", "1000")


def _coroutines() -> Any:
    # Only for who calls them: a worker of this file alone has none.
    return import_module("peers.celeriac_async")


def _command(*options: str) -> list[str]:
    return [sys.executable, "-m", "celeriac", "-A", "peers.celeriac", "worker", "-l", "WARNING", *options]


def enqueue(n: int) -> None:
    for _ in range(n):
        append.delay()


def load(n: int) -> None:
    append.apply_many(repeat((), n))


def load_delayed(n: int, countdown: float) -> None:
    append.apply_many(repeat((), n), countdown=countdown)


def load_async(n: int) -> None:
    _coroutines().append.apply_many(repeat((), n))


def load_data(n: int, size: int) -> None:
    swallow.apply_many(repeat(("x" * size,), n))


def load_queues(n: int, queues: int) -> None:
    for number in range(queues):
        append.apply_many(repeat((), n // queues), queue=f"q{number}")


def stamp() -> None:
    stamp_.delay()


def round_trip() -> None:
    append.delay().get(timeout=10)


@app.task
def total(values: list[int]) -> int:
    work.append()
    return len(values)


@app.task
def step(value: int) -> int:
    return value + 1


def send_group(n: int) -> None:
    group(append.s() for _ in range(n)).apply_async()


def send_chord(n: int) -> None:
    chord([append.s() for _ in range(n)], total.s()).apply_async()


def run_chain(n: int) -> None:
    assert chain(step.s(0), *[step.s() for _ in range(n - 1)]).apply_async().get(timeout=60) == n


def nap(n: int, seconds: float) -> None:
    _coroutines().nap.apply_many(repeat((seconds,), n))


def spin(n: int, seconds: float) -> None:
    spin_.apply_many(repeat((seconds,), n))
