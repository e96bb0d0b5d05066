"""What a worker decodes is its own to say, whichever library sent it; and both task protocols are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from celeriac.exceptions import ContentDisallowed
from interop import shop
from interop.conftest import Customer, Workers, our_worker, their_worker
from services import Program

#: Served by a worker of each library that accepts everything.
TRUSTING = {"ours": "trusting ours", "theirs": "trusting theirs"}
ALL = "json pickle yaml msgpack"
#: What JSON has no form for, as each serializer carries it.
VALUES = {"pickle": {1, 2}, "yaml": ["a", 1.5, None], "msgpack": {"raw": b"\xff"}, "json": [1, "a"]}


@pytest.fixture(scope="module")
def trusting(stock_celery: str, url: str) -> Iterator[list[Program]]:
    started = [
        our_worker(url, TRUSTING["ours"], accept=ALL),
        their_worker(stock_celery, url, TRUSTING["theirs"], accept=ALL),
    ]
    try:
        for worker in started:
            worker.wait_for_line(r" ready\.")
        yield started
    finally:
        for worker in started:
            worker.stop()


@pytest.mark.parametrize("serializer", VALUES)
def test_a_trusting_celeriac_worker_decodes_what_stock_celery_sends(
    stock: Customer, trusting: list[Program], serializer: str
) -> None:
    seen = stock(
        """
        call = app.tasks["shop.describe"].apply_async([eval(value)], queue=queue, serializer=serializer)
        answer = call.get(timeout=20)
        """,
        value=repr(VALUES[serializer]),
        serializer=serializer,
        queue=TRUSTING["ours"],
    )
    assert seen == repr(((VALUES[serializer],), {}))


@pytest.mark.parametrize("serializer", VALUES)
def test_a_trusting_stock_worker_decodes_what_celeriac_sends(
    ours: Any, trusting: list[Program], serializer: str
) -> None:
    describe = ours.tasks["shop.describe"]
    call = describe.apply_async([VALUES[serializer]], queue=TRUSTING["theirs"], serializer=serializer)
    assert call.get(timeout=20) == repr(((VALUES[serializer],), {}))


@pytest.mark.parametrize("serializer", ["pickle", "yaml", "msgpack"])
def test_a_celeriac_worker_refuses_what_it_was_not_told_to_accept(
    ours: Any, stock: Customer, store: redis.Redis, workers: Workers, serializer: str
) -> None:
    """Stock Celery's sender sees a failure, which a stock worker does not give, and the message is kept."""
    task_id, error = stock(
        """
        call = app.tasks["shop.note"].apply_async(["refused"], queue="ours", serializer=serializer)
        answer = call.id, repr(call.get(timeout=20, propagate=False))
        """,
        serializer=serializer,
    )
    assert error.startswith("ContentDisallowed(")
    assert serializer in error
    assert isinstance(ours.AsyncResult(task_id).result, ContentDisallowed)
    assert store.llen("refused") == 0
    letters = [letter for letter in ours.broker.letters(100) if letter.id == task_id]
    assert [letter.reason.partition(":")[0] for letter in letters] == ["ContentDisallowed"]


def test_task_protocol_1_is_read(stock: Customer, workers: Workers) -> None:
    """By old producers, and by those with `task_protocol = 1`."""
    seen = stock(
        """
        import datetime
        from celery import Celery
        old = shop.open_shop(Celery, app.conf.broker_url, set_as_current=False, task_protocol=1)
        def send(name, *args, **options):
            return old.tasks["shop." + name].apply_async(args, queue="ours", **options)

        add = old.tasks["shop.add"]
        began = datetime.datetime.now(datetime.timezone.utc).timestamp()
        failed = send("boom", link_error=old.tasks["shop.note_failed_id"].s().set(queue="ours"))
        chain = (add.s(1, 1).set(queue="ours") | add.s(5).set(queue="ours")).apply_async()
        linked = send("add", 1, 2, link=add.s(100).set(queue="ours"))
        answer = {
            "rich": send("describe", *shop.RICH).get(timeout=20),
            "look": {k: v for k, v in send("look", 1).get(timeout=20).items() if k in ("args", "kwargs")},
            "retried": send("stubborn", 1).get(timeout=20),
            "late": send("began", countdown=0.3).get(timeout=20) - began >= 0.3,
            "expired": repr(send("add", expires=shop.PAST).get(timeout=20, propagate=False)),
            "failed": repr(failed.get(timeout=20, propagate=False)),
            "told": old.store.blpop([f"failed:{failed.id}"], timeout=20)[1] == failed.id,
            "chain": chain.get(timeout=20),
            "linked": linked.get(timeout=20),
            "after it": linked.children[0].get(timeout=20),
        }
        old.close()
        """
    )
    assert seen == {
        "rich": repr((tuple(shop.RICH), {})),
        "look": {"args": [1], "kwargs": {}},
        "retried": 1,
        "late": True,
        "expired": "TaskRevokedError('expired')",
        "failed": "ValueError('no', 7)",
        "told": True,
        "chain": 7,
        "linked": 3,
        "after it": 103,
    }
