"""The apps of test_exchanges.py: queues of a topic and of a fanout exchange, declared by either library."""

from __future__ import annotations

import os
from typing import Any

import redis


def open_press(library: Any, entities: Any, url: str, queue: str, key: str) -> Any:
    """An app whose worker serves `queue`, bound to the exchange `papers`, and the broadcast `flash`."""
    papers = entities.Exchange("papers", type="topic")
    app = library("press", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        task_queues=[entities.Queue(queue, papers, routing_key=key), entities.Broadcast("flash")],
        broker_connection_retry_on_startup=True,
    )
    store = redis.Redis.from_url(url, decode_responses=True, socket_timeout=30)

    @app.task(name="press.note", shared=False)
    def note(list_name: str) -> None:
        store.rpush(list_name, queue)

    return app


if os.environ.get("LIBRARY") == "celery":
    import kombu
    from kombu.common import Broadcast

    from celery import Celery

    kombu.Broadcast = Broadcast
    app = open_press(Celery, kombu, os.environ["SHOP_URL"], "theirs-daily", "paper.*")
