"""Both libraries at work on one Redis: chains that cross, a queue that is shared, and what is left behind."""

from __future__ import annotations

import asyncio
import statistics
from typing import Any

import pytest
import redis

from celeriac import Celery
from celeriac.exceptions import TaskRevokedError
from interop import shop
from interop.conftest import Customer, Workers, our_worker
from interop.shop import s
from services import RedisServer

# --- chains that cross ------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [shop.OURS, shop.THEIRS])
def test_a_chain_of_ours_crosses_from_one_worker_to_the_other(
    ours: Any, workers: Workers, first: str
) -> None:
    second = shop.THEIRS if first == shop.OURS else shop.OURS
    steps = s(ours, "add", 1, 1, queue=first) | s(ours, "add", 10, queue=second, priority=6)
    steps |= s(ours, "look", queue=first, countdown=0.1)
    last = steps.apply_async()
    seen = last.get(timeout=20)
    assert (seen["args"], seen["root_id"], seen["parent_id"]) == (
        [12],
        last.parent.parent.id,
        last.parent.id,
    )
    assert [last.parent.parent.get(timeout=20), last.parent.get(timeout=20)] == [2, 12]
    children = [ours.AsyncResult(call.id).children for call in (last.parent.parent, last.parent)]
    assert children == [[last.parent], [last]]


@pytest.mark.parametrize("first", [shop.OURS, shop.THEIRS])
def test_a_chain_of_stock_celery_crosses_from_one_worker_to_the_other(
    stock: Customer, workers: Workers, first: str
) -> None:
    second = shop.THEIRS if first == shop.OURS else shop.OURS
    seen = stock(
        """
        steps = shop.s(app, "add", 1, 1, queue=first) | shop.s(app, "add", 10, queue=second, priority=6)
        steps |= shop.s(app, "look", queue=first, countdown=0.1)
        last = steps.apply_async()
        seen = last.get(timeout=20)
        earlier = [last.parent.parent, last.parent]
        answer = {
            "args": seen["args"],
            "family": [seen["root_id"], seen["parent_id"]] == [call.id for call in earlier],
            "values": [call.get(timeout=20) for call in earlier],
            "children": [app.AsyncResult(call.id).children for call in earlier] == [[last.parent], [last]],
        }
        """,
        first=first,
        second=second,
    )
    assert seen == {"args": [12], "family": True, "values": [2, 12], "children": True}


@pytest.mark.parametrize("failing", [shop.OURS, shop.THEIRS])
def test_a_callback_and_an_errback_are_run_by_the_other_worker(
    ours: Any, store: redis.Redis, workers: Workers, failing: str
) -> None:
    other = shop.THEIRS if failing == shop.OURS else shop.OURS
    ledger = f"crossing to {other}"
    call = ours.tasks["shop.add"].apply_async(
        (1, 2),
        queue=failing,
        link=s(ours, "add", 4, queue=other, link=ours.tasks["shop.note"].si(ledger).set(queue=failing)),
    )
    assert call.get(timeout=20) == 3
    assert store.blpop([ledger], timeout=20) is not None
    failed = ours.tasks["shop.boom"].apply_async(
        queue=failing, link_error=s(ours, "note_failed_id", queue=other)
    )
    assert store.blpop([f"failed:{failed.id}"], timeout=20)[1] == failed.id


def test_a_group_of_stock_celery_may_be_run_by_both(stock: Customer, workers: Workers) -> None:
    seen = stock(
        """
        from celery import group
        queues = ["ours", "theirs", "both"] * 3
        calls = [shop.s(app, "add", number, 1, queue=queue) for number, queue in enumerate(queues)]
        result = group(calls).apply_async()
        answer = [result.get(timeout=20), result.successful(), result.completed_count()]
        """
    )
    assert seen == [list(range(1, 10)), True, 9]


def test_a_task_of_either_worker_calls_the_other(ours: Any, store: redis.Redis, workers: Workers) -> None:
    for here, there in ((shop.OURS, shop.THEIRS), (shop.THEIRS, shop.OURS)):
        call = ours.tasks["shop.parent"].apply_async((there,), queue=here)
        child_id = call.get(timeout=20)
        (child,) = call.children
        assert child.id == child_id
        assert child.get(timeout=20) == 2
        family = ours.tasks["shop.look"].apply_async(queue=there).get(timeout=20)
        assert family["parent_id"] is None


# --- in coroutines ----------------------------------------------------------------------------------------


def test_results_of_a_stock_worker_are_awaited(ours: Any, workers: Workers) -> None:
    add, boom = ours.tasks["shop.add"], ours.tasks["shop.boom"]

    async def many() -> list[Any]:
        calls = [await add.aapply_async((number, 1), queue=shop.THEIRS) for number in range(20)]
        failing = await boom.aapply_async(queue=shop.THEIRS)
        late = await add.aapply_async(queue=shop.THEIRS, expires=shop.PAST)
        return await asyncio.gather(*calls, failing, late.aget(timeout=20), return_exceptions=True)

    *values, error, expired = asyncio.run(many())
    assert values == list(range(1, 21))
    assert (type(error), error.args) == (ValueError, ("no", 7))
    assert isinstance(expired, TaskRevokedError)


# --- one queue, two workers -------------------------------------------------------------------------------


def test_both_workers_serve_one_queue_and_every_task_runs_once(
    ours: Any, stock: Customer, store: redis.Redis, workers: Workers
) -> None:
    half = 250
    calls = [ours.tasks["shop.serve"].apply_async((number,), queue=shop.BOTH) for number in range(half)]
    sent = stock(
        """
        serve = app.tasks["shop.serve"]
        answer = [serve.apply_async((number,), queue="both").id for number in range(half, 2 * half)]
        """,
        half=half,
    )
    for task_id in [*(call.id for call in calls), *sent]:
        ours.AsyncResult(task_id).get(timeout=30)
    served = [entry.split() for entry in store.lrange("served", 0, -1)]
    assert sorted(int(number) for number, _ in served) == list(range(2 * half))
    assert {library for _, library in served} == {"celeriac", "celery"}


# --- how soon ---------------------------------------------------------------------------------------------


def test_an_idle_celeriac_worker_starts_a_message_of_stock_celery_at_once(
    stock: Customer, workers: Workers
) -> None:
    delays = stock(
        """
        import time
        began, delays = app.tasks["shop.began"], []
        for number in range(32):
            time.sleep(0.01 * (number % 3))  # the worker is idle, for a shorter or a longer while
            sent = time.time()
            delays.append(began.apply_async(queue="ours").get(timeout=20) - sent)
        answer = delays[2:]
        """
    )
    assert len(delays) == 30
    assert statistics.median(delays) < 0.2, sorted(delays)


def test_a_worker_that_has_just_started_beside_another_is_as_quick(
    stock: Customer, url: str, workers: Workers
) -> None:
    """One node looks out for all, and it must hear of a new queue at once."""
    with our_worker(url, "new queue") as worker:
        worker.wait_for_line(r" ready\.")
        delay = stock(
            """
            import time
            sent = time.time()
            answer = app.tasks["shop.began"].apply_async(queue="new queue").get(timeout=20) - sent
            """
        )
    assert delay < 5.0


# --- what is left -----------------------------------------------------------------------------------------


def test_what_remains_in_redis_has_a_ttl_or_is_a_registry(own_redis: RedisServer, stock_celery: str) -> None:
    url = own_redis.url
    with Customer(stock_celery, url) as stock, redis.Redis.from_url(url, decode_responses=True) as store:
        worker = our_worker(url, shop.OURS)
        try:
            worker.wait_for_line(r" ready\.")
            done = stock(
                """

                def send(name, *args, **options):
                    return app.tasks["shop." + name].apply_async(args, queue="ours", **options)

                calls = [send("add", 1, number, priority=number) for number in range(10)]
                calls += [send("add", countdown=0.2), send("stubborn", 2), send("parent"), send("tracked")]
                app.store.rpush(f"go:{calls[-1].id}", "go")
                calls += [send("boom"), send("curious"), send("add", expires=shop.PAST)]
                calls += [(shop.s(app, "add", 1, 1, queue="ours") | shop.s(app, "add", queue="ours"))()]
                answer = [repr(call.get(timeout=20, propagate=False)) for call in calls]
                """
            )
            assert len(done) == 18
        finally:
            worker.stop()
        kept = {key: store.ttl(key) for key in store.scan_iter()}
    registries = {"celeriac:queues", "celeriac:listened"}
    bindings = {key for key in kept if key.startswith("_kombu.binding")}
    assert bindings, "stock Celery declares its queues"
    assert {key for key, ttl in kept.items() if ttl < 0} - bindings <= registries
    results = [key for key in kept if key.startswith("celery-task-meta-")]
    assert len(results) == 18 + 2, "one for each task that ran"


def test_RED_4_a_stock_worker_runs_what_we_send_by_protocol_1(url: str, workers: Workers) -> None:
    with Celery("older", broker=url, backend=url, task_protocol=1, set_as_current=False) as older:
        one, two, link = (
            older.signature("shop.add", args=args, queue=shop.THEIRS) for args in ((1, 1), (10,), (5,))
        )
        last = (one | two).apply_async(link=link)
        assert last.get(timeout=20) == 12
        assert last.parent.get(timeout=20) == 2
