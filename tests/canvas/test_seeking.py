"""What will never come is found not to come, and what will come is never said to be lost: on every store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from celeriac import AsyncResult, Celery, GroupResult, chain, chord, group, seeking
from celeriac.drivers.opening import open_broker
from celeriac.exceptions import NotFound, TimeoutError
from celeriac.message import Claim, Fate, Message, Outcome, Result
from celeriac.ports import Broker
from celeriac.wire.result import encode_result


@pytest.fixture
def app(store_of_its_own: str) -> Iterator[Celery]:
    with Celery("proj", broker=store_of_its_own, backend=store_of_its_own, set_as_current=False) as app:
        app.task(name="add")(lambda *numbers: sum(numbers))
        yield app
        app.purge(["celery"])


@pytest.fixture
def worker(store_of_its_own: str) -> Iterator[Broker]:
    broker = open_broker(store_of_its_own, store_of_its_own)
    broker.consume(["celery"])
    broker.enlist("owner", "node", 60.0)
    yield broker
    broker.dismiss("owner")
    broker.close()


def ids_of(result: Any) -> Iterator[str]:
    """Of all results of a workflow."""
    while result is not None:
        for one in result.results if isinstance(result, GroupResult) else [result]:
            yield one.id
        result = result.parent


def lost(app: Celery, result: Any) -> set[str]:
    # As somebody sees it who knows no more than ids.
    return seeking.lost(app, list(ids_of(result)))


def ended(claim: Claim, task_id: str) -> Outcome:
    payload = encode_result(task_id=task_id, status="SUCCESS", result=3)
    return Outcome(claim.number, result=Result(task_id, payload))


def test_RES_1_an_id_that_nobody_sent_is_not_found(app: Celery) -> None:
    nobody: AsyncResult[Any] = app.AsyncResult("nobody")
    assert not nobody.found()
    assert nobody.state == "PENDING"
    began = time.monotonic()
    with pytest.raises(NotFound, match=r"nothing will come of task nobody: .*ignore_result.*result_expires"):
        nobody.get(strict=True)
    with pytest.raises(NotFound):
        asyncio.run(nobody.aget(timeout=60, strict=True))
    assert not asyncio.run(nobody.afound())
    assert time.monotonic() - began < seeking.FIRST_PAUSE


def test_RES_1_a_message_is_found_wherever_it_is_until_it_ends_without_a_result(
    app: Celery, worker: Broker
) -> None:
    add = app.tasks["add"]
    ready, later = add.delay(1, 2), add.apply_async((1, 2), countdown=3600)
    assert ready.found()
    assert later.found()
    with pytest.raises(TimeoutError):
        ready.get(timeout=0.01, strict=True)
    with pytest.raises(TimeoutError):
        asyncio.run(later.aget(timeout=0.01, strict=True))
    (claim,) = worker.turn("owner", (), 1)
    assert ready.found()
    worker.turn("owner", [Outcome(claim.number, Fate.GIVEN_BACK)], 0)
    (claim,) = worker.turn("owner", (), 1)
    worker.turn("owner", [Outcome(claim.number, Fate.BEGUN)], 0)
    assert ready.found()
    worker.turn("owner", [Outcome(claim.number)], 0)
    assert not ready.found()
    with pytest.raises(NotFound):
        ready.get(timeout=60, strict=True)


def test_RES_1_a_result_is_found_without_a_message(app: Celery, worker: Broker) -> None:
    result = app.tasks["add"].delay(1, 2)
    (claim,) = worker.turn("owner", (), 1)
    worker.turn("owner", [ended(claim, result.id)], 0)
    again: AsyncResult[Any] = app.AsyncResult(result.id)
    assert again.found()
    assert again.get(strict=True) == result.get(strict=True) == 3
    result.forget()
    assert not app.AsyncResult(result.id).found()


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_RES_1_what_comes_later_is_found_in_what_comes_before(
    app: Celery, worker: Broker, serializer: str
) -> None:
    add = app.tasks["add"]

    def made(*numbers: int) -> Any:
        return add.s(*numbers).set(serializer=serializer)

    workflows = [
        chain(made(1, 2), made(3), made(4)),
        chord([made(1), made(2)], made(3) | made(4)),
        chain(made(1), group(made(n) for n in range(30)), made(), group(made(n) for n in range(12))),
        chain(made(1), group(chain(made(1), made(2)), made(3))),
    ]
    for workflow in workflows:
        result = workflow.apply_async()
        assert len(list(ids_of(result))) > 2
        assert lost(app, result) == set()
        claims = worker.turn("owner", (), 100)
        assert lost(app, result) == set()
        worker.turn("owner", [Outcome(claim.number) for claim in claims], 0)
        assert lost(app, result) == set(ids_of(result))


def test_an_id_with_quotes_and_others_than_letters_is_found_too(app: Celery) -> None:
    odd = 'a"b\\c ü'
    add = app.tasks["add"]
    chain(add.s(1).set(task_id=odd + "1"), add.s(2).set(task_id=odd)).apply_async()
    assert seeking.lost(app, [odd, odd + "1", odd + "2"]) == {odd + "2"}


def test_RES_3_a_group_says_which_of_its_tasks_is_lost(app: Celery, worker: Broker) -> None:
    result = group(app.tasks["add"].s(n) for n in range(20)).apply_async()
    with pytest.raises(TimeoutError):
        result.get(timeout=0.01, strict=True)
    with pytest.raises(TimeoutError):
        asyncio.run(result.aget(timeout=0.01, strict=True))
    (claim,) = worker.turn("owner", (), 1)
    worker.turn("owner", [Outcome(claim.number)], 0)
    with pytest.raises(NotFound, match=f"of task {result[0].id}:"):
        result.join(timeout=60, strict=True)
    with pytest.raises(NotFound):
        asyncio.run(result.aget(timeout=60, strict=True))


def test_who_waits_strictly_hears_when_a_task_ends_without_a_result(
    app: Celery, worker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeking, "FIRST_PAUSE", 0.01)
    result = app.tasks["add"].delay(1, 2)
    looks = 0
    look = seeking.lost

    def counted(*args: Any) -> set[str]:
        nonlocal looks
        looks += 1
        if looks == 3:
            (claim,) = worker.turn("owner", (), 1)
            worker.turn("owner", [Outcome(claim.number)], 0)
        return look(*args)

    monkeypatch.setattr(seeking, "lost", counted)
    with pytest.raises(NotFound):
        result.get(strict=True)
    assert looks == 3


def test_what_nobody_can_read_may_be_what_is_sought(app: Celery, worker: Broker) -> None:
    app.broker.publish([Message("x", "celery", b"no envelope")])
    assert app.AsyncResult("nobody").found()
    (claim,) = worker.turn("owner", (), 1)
    worker.turn("owner", [Outcome(claim.number, Fate.DEAD, id="x")], 0)
    assert not app.AsyncResult("nobody").found()
