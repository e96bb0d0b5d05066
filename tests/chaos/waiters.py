"""32 threads and 32 coroutines that wait for results, one after the other, beside a plain subscription.

As a program they have an interpreter of their own, which neither the proxy nor whoever cuts it shares.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import redis

from celeriac import AsyncResult, Celery

THREADS, COROUTINES = 32, 32


class Witness(threading.Thread):
    """Hears every result in this process too, over a plain subscription that nobody cuts: what is late for it
    is late because of the machine."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.heard: dict[str, float] = {}
        self._server = redis.Redis.from_url(url)
        self._channels = self._server.pubsub()
        self._channels.psubscribe("celery-task-meta-*")
        assert self._channels.get_message(timeout=10)

    def run(self) -> None:
        with contextlib.suppress(ValueError, AttributeError, OSError, redis.ConnectionError):  # closed below
            for message in self._channels.listen():
                self.heard[message["channel"].decode().removeprefix("celery-task-meta-")] = time.time()

    def close(self) -> None:
        self._channels.close()
        self.join(5)
        self._server.close()


class Lateness(NamedTuple):
    """How many milliseconds after the witness they woke, and what went wrong."""

    results: int
    median: float
    p99: float
    last: float
    #: How many of them were later than 50 ms.
    over: int
    failed: list[str]

    def __str__(self) -> str:
        return (
            f"{self.results:,} results, woken after a plain subscription: median {self.median:.1f} ms, "
            f"p99 {self.p99:.1f} ms, last {self.last:.0f} ms, {self.over} after more than 50 ms"
        )


def all_wait(app: Celery, witness_url: str, goes_on: Callable[[int], bool], longest: float = 0.0) -> Lateness:
    """Each sends and waits, again and again, while `goes_on` says so of the number of results so far. A task
    takes up to `longest` seconds: without, all keep the interpreter busy, which is what they wait for then.
    """
    asked: dict[str, float] = {}
    woken: dict[str, float] = {}
    failed: list[str] = []
    dice = random.Random(1)

    def send(word: str) -> AsyncResult[str]:
        sent: AsyncResult[str] = app.send_task(
            "chaos_app.awork", (word, dice.uniform(0.0, longest)), task_id=word
        )
        asked[word] = time.time()
        return sent

    def in_a_thread(name: str) -> None:
        number = 0
        while not failed and goes_on(len(woken)):
            number += 1
            word = f"{name}.{number}"
            assert send(word).get(timeout=20) == word
            woken[word] = time.time()

    async def in_a_coroutine(name: str) -> None:
        number = 0
        while not failed and goes_on(len(woken)):
            number += 1
            word = f"{name}.{number}"
            sent = await asyncio.to_thread(send, word)
            assert await sent.aget(timeout=20) == word
            woken[word] = time.time()

    async def all_coroutines() -> None:
        await asyncio.gather(*(in_a_coroutine(f"coroutine{number}") for number in range(COROUTINES)))

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(repr(error))

    witness = Witness(witness_url)
    witness.start()
    works: list[Callable[[], object]] = [lambda: asyncio.run(all_coroutines())]
    works += [lambda name=f"thread{n}": in_a_thread(name) for n in range(THREADS)]  # type: ignore[misc]
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    witness.close()
    # A result may have been there before anybody asked, or while the witness did not run yet.
    late = sorted(1000 * (at - max(asked[word], witness.heard.get(word, 0.0))) for word, at in woken.items())
    late = late or [0.0]
    over = sum(one > 50.0 for one in late)
    return Lateness(len(woken), late[len(late) // 2], late[len(late) * 99 // 100], late[-1], over, failed)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("witness_url")
    parser.add_argument("results", type=float)
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    app = Celery("waiters", broker=options.url, backend=options.url, set_as_current=False)
    lateness = all_wait(
        app,
        options.witness_url,
        lambda so_far: so_far < options.results and time.monotonic() < until,
        longest=0.4,
    )
    app.close()
    sys.stdout.buffer.write(msgspec.json.encode(lateness) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
