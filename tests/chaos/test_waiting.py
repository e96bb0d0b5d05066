"""Row 7: threads and coroutines that wait for results all wake, also when the connection breaks meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import redis

from celeriac import Celery
from celeriac.drivers.redis.ear import SILENCE
from chaos.stage import Opened, RedisStore, until

#: Threads, coroutines, and the results that each of them waits for.
THREADS, COROUTINES, EACH = 32, 32, 15


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


def test_nobody_hangs_when_redis_is_cut_while_all_wait(opened: Opened) -> None:
    stage = opened("redis")
    assert isinstance(stage.store, RedisStore)
    stage.start_worker("-c", "2", url=stage.store.url)
    app = stage.app(stage.store.workers_url)
    asked: dict[str, float] = {}
    woken: dict[str, float] = {}

    def in_a_thread(name: str) -> None:
        for number in range(EACH):
            word = f"{name}.{number}"
            sent = app.send_task("chaos_app.work", (word,), task_id=word)
            asked[word] = time.time()
            assert sent.get(timeout=20) == word
            woken[word] = time.time()

    async def in_a_coroutine(name: str) -> None:
        for number in range(EACH):
            word = f"{name}.{number}"
            sent = await asyncio.to_thread(app.send_task, "chaos_app.work", (word,), task_id=word)
            asked[word] = time.time()
            assert await sent.aget(timeout=20) == word
            woken[word] = time.time()

    async def all_coroutines() -> None:
        await asyncio.gather(*(in_a_coroutine(f"coroutine{number}") for number in range(COROUTINES)))

    stage.send("first", url=stage.store.workers_url).get(timeout=20)
    witness = Witness(stage.store.url)
    witness.start()
    threads = [threading.Thread(target=in_a_thread, args=(f"thread{number}",)) for number in range(THREADS)]
    threads.append(threading.Thread(target=lambda: asyncio.run(all_coroutines())))
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.3)
        stage.store.proxy.reset()
    for thread in threads:
        thread.join()
    witness.close()
    assert len(woken) == (THREADS + COROUTINES) * EACH
    # A result may have been there before anybody asked, or while the witness did not run yet.
    due = {word: max(asked[word], witness.heard.get(word, 0.0)) for word in woken}
    late = sorted(woken[word] - due[word] for word in woken)
    print(f"woken after the witness: median {late[len(late) // 2] * 1000:.1f} ms, "
          f"p99 {late[len(late) * 99 // 100] * 1000:.1f} ms, last {late[-1] * 1000:.1f} ms")  # fmt: skip
    # A wake-up that was lost comes, if at all, when the watch has noticed its silence. How quick the others
    # are depends on the machine: `make chaos ROW=7` says it.
    assert late[-1] < SILENCE, "a wake-up was lost"


def test_who_waits_through_an_outage_is_told_as_soon_as_it_is_over(opened: Opened) -> None:
    stage = opened("redis")
    assert isinstance(stage.store, RedisStore)
    proxy = stage.store.proxy
    worker = stage.start_worker("-c", "1", url=stage.store.url)
    app = Celery("waiter", broker=stage.store.workers_url, backend=stage.store.workers_url,
                 set_as_current=False)  # fmt: skip
    result = app.send_task("chaos_app.work", ("slow", 1.0), task_id="slow")
    woken: list[float] = []

    def wait() -> None:
        result.get(timeout=30)
        woken.append(time.monotonic())

    waiter = threading.Thread(target=wait)
    waiter.start()
    with redis.Redis.from_url(stage.store.url) as server:
        until(lambda: server.pubsub_numsub("celery-task-meta-slow")[0][1] == 1, "somebody waits")
    proxy.swallow()
    worker.wait_for_line("Task .*work.* succeeded")
    time.sleep(2.0)
    proxy.pass_on(forget=True)
    healed = time.monotonic()
    waiter.join(20)
    app.close()
    assert woken
    assert woken[0] - healed < 10.0
