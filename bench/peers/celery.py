"""Celery: the pool of processes, Redis as broker and backend."""

from __future__ import annotations

import sys

from celery import Celery, chain, chord, group
from peers import work

app = Celery("peers.celery", broker=work.BROKER, backend=work.BROKER if work.RESULTS else None)
app.conf.task_ignore_result = not work.RESULTS


@app.task
def append():
    return work.append()


@app.task
def stamp_():
    return work.stamp()


@app.task
def spin_(seconds):
    return work.spin(seconds)


def worker(processes):
    command = [sys.executable, "-m", "celery", "-A", "peers.celery", "worker", "-l", "WARNING"]
    return [*command, "-c", str(processes)]


def enqueue(n):
    for _ in range(n):
        append.delay()


load = enqueue


def load_delayed(n, countdown):
    for _ in range(n):
        append.apply_async(countdown=countdown)


def stamp():
    stamp_.delay()


def round_trip():
    append.delay().get(timeout=10)


@app.task
def total(values):
    work.append()
    return len(values)


@app.task
def step(value):
    return value + 1


def send_group(n):
    group(append.s() for _ in range(n)).apply_async()


def send_chord(n):
    chord([append.s() for _ in range(n)], total.s()).apply_async()


def run_chain(n):
    assert chain(step.s(0), *[step.s() for _ in range(n - 1)]).apply_async().get(timeout=60) == n


def spin(n, seconds):
    for _ in range(n):
        spin_.delay(seconds)
