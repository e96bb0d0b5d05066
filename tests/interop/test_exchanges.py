"""Topic and fanout exchanges between the libraries: each side's producers reach the workers of both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from celeriac import Celery, entities
from celeriac.testing.worker import start_worker
from interop.conftest import TESTS, Customer, environment
from interop.press import open_press
from services import Program

#: What a stock producer must do itself: to one that has not declared its exchange everything is `direct`.
DECLARED = """
from kombu import Exchange
with app.producer_or_acquire() as producer:
    exchange = Exchange(name, type=kind)
    exchange(producer.channel).declare()
    app.send_task("press.note", (noted,), producer=producer, exchange=exchange, routing_key=key)
"""


@pytest.fixture(scope="module")
def press(stock_celery: str, url: str) -> Iterator[Any]:
    """Our app, with a worker of each library at work."""
    words = ["-m", "celery", "-A", "interop.press", "worker", "-P", "solo", "-l", "info", "--without-mingle"]
    theirs = Program(
        [stock_celery, *words, "-n", "press@%h"],
        cwd=TESTS,
        env=environment(url) | {"LIBRARY": "celery", "C_FORCE_ROOT": "1"},
    )
    app = open_press(Celery, entities, url, "ours-all", "paper.#")
    theirs.start()
    try:
        with app, start_worker(app, hostname="press@ours", perform_ping_check=False):
            theirs.wait_for_line(r" ready\.")
            yield app
    finally:
        theirs.stop()
        print(theirs.output)


def noted(store: redis.Redis, name: str, count: int) -> list[str]:
    found = [store.blpop([name], timeout=15) for _ in range(count)]
    assert all(found), f"only {found} of {count}"
    return sorted(queue for _, queue in found)


def test_ROU_4_our_producer_reaches_both_workers_by_a_topic(press: Any, store: redis.Redis) -> None:
    press.send_task("press.note", ("topic-1",), exchange="papers", routing_key="paper.daily")
    assert noted(store, "topic-1", 2) == ["ours-all", "theirs-daily"]
    with Celery("other", broker=press.conf.broker_url, set_as_current=False) as other:
        other.send_task("press.note", ("topic-2",), exchange="papers", routing_key="paper.daily")
        assert noted(store, "topic-2", 2) == ["ours-all", "theirs-daily"]
        other.send_task("press.note", ("topic-3",), exchange="papers", routing_key="paper.daily.late")
        assert noted(store, "topic-3", 1) == ["ours-all"]


def test_ROU_4_a_stock_producer_reaches_both_workers_by_a_topic(
    press: Any, stock: Customer, store: redis.Redis
) -> None:
    stock(DECLARED, name="papers", kind="topic", noted="topic-4", key="paper.daily")
    assert noted(store, "topic-4", 2) == ["ours-all", "theirs-daily"]


def test_ROU_4_our_broadcast_reaches_both_workers_once(press: Any, store: redis.Redis) -> None:
    press.send_task("press.note", ("flash-1",), queue="flash")
    assert noted(store, "flash-1", 2) == ["ours-all", "theirs-daily"]
    press.send_task("press.note", ("flash-2",), queue="flash")
    assert noted(store, "flash-2", 2) == ["ours-all", "theirs-daily"]
    assert store.llen("flash-1") == 0


def test_ROU_4_a_stock_broadcast_reaches_both_workers_once(
    press: Any, stock: Customer, store: redis.Redis
) -> None:
    stock(DECLARED, name="flash", kind="fanout", noted="flash-3", key="celery")
    assert noted(store, "flash-3", 2) == ["ours-all", "theirs-daily"]
    stock(DECLARED, name="flash", kind="fanout", noted="flash-4", key="celery")
    assert noted(store, "flash-4", 2) == ["ours-all", "theirs-daily"]
    assert store.llen("flash-3") == 0
