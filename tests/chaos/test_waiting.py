"""Row 7: threads and coroutines that wait for results all wake, also when the connection breaks meanwhile."""

from __future__ import annotations

import threading
import time

import redis

from celeriac import Celery
from celeriac.drivers.redis.pulse import SILENCE
from chaos.stage import Opened, RedisStore, until
from chaos.waiters import all_wait

#: Results that are waited for.
RESULTS = 960


def test_nobody_hangs_when_redis_is_cut_while_all_wait(opened: Opened) -> None:
    stage = opened("redis")
    assert isinstance(stage.store, RedisStore)
    stage.start_worker("-c", "2", url=stage.store.url)
    app = stage.app(stage.store.workers_url)
    stage.send("first", url=stage.store.workers_url).get(timeout=20)
    over, proxy = threading.Event(), stage.store.proxy

    def cut_all_the_time() -> None:
        while not over.wait(0.3):
            proxy.reset()

    cutter = threading.Thread(target=cut_all_the_time)
    cutter.start()
    try:
        found = all_wait(app, stage.store.url, lambda so_far: so_far < RESULTS)
    finally:
        over.set()
        cutter.join()
    print(found)
    assert not found.failed
    assert found.results >= RESULTS
    # A wake-up that was lost comes, if at all, when the watch has noticed its silence. How quick the others
    # are depends on the machine: `make chaos ROW=7` demands it.
    assert found.last < SILENCE * 1000, "a wake-up was lost"


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
