"""What type checkers must know of calls: `test_typing.py` has mypy read it, `make check` pyright. Nothing is
run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, assert_type

from celeriac import AsyncResult, Celery, EagerResult, Signature, Task, shared_task
from celeriac.middleware import Call, Middleware, Run
from celeriac.request import Request

app = Celery("proj", broker="memory://", backend="memory://", task_default_queue="x")


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task(name="greet", auto_retry=[ValueError], max_retries=5)
def greet(name: str) -> str:
    return name


@app.task(bind=True)
def bound(self: Task[Any, Any], x: int) -> float:
    return float(self.request.retries + x)


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task(bind=True, queue="net")
async def bound_fetch(self: Task[Any, Any], url: str) -> bytes:
    return url.encode()


@shared_task
def shared(x: int) -> list[int]:
    return [x]


@shared_task()
def shared_with_parentheses(x: int) -> str:
    return str(x)


@shared_task(bind=True)
def shared_bound(self: Task[Any, Any], x: int) -> str:
    return str(x)


def calls() -> None:
    assert_type(add.delay(1, 2), AsyncResult[int])
    assert_type(add.delay(1, y=2).get(timeout=1), int)
    assert_type(add.apply_async((1, 2), countdown=3), AsyncResult[int])
    assert_type(add.apply((1,)), EagerResult[int])
    assert_type(add.apply_many([(1, 2)]), list[AsyncResult[int]])
    assert_type(add(1), int)
    assert_type(add.s(1) | add.si(1, 2), Signature)
    assert_type(add.s(1).delay(2), AsyncResult[int])
    assert_type(add.s(1).set(queue="q").apply_async((2,), countdown=3).get(), int)
    assert_type(bound.si(1).apply(), EagerResult[float])
    assert_type(shared.s(1).delay().get(), list[int])
    assert_type(greet.delay("you"), AsyncResult[str])
    assert_type(bound.delay(1), AsyncResult[float])
    assert_type(bound(1), float)
    assert_type(fetch.delay("url"), AsyncResult[bytes])
    assert_type(bound_fetch.delay("url"), AsyncResult[bytes])
    assert_type(shared.delay(1), AsyncResult[list[int]])
    assert_type(shared_with_parentheses.delay(1), AsyncResult[str])
    assert_type(shared_bound.delay(1), AsyncResult[str])

    # Each of these must be an error; mypy tells of an `ignore` that is not needed.
    add.delay()  # type: ignore[call-arg]
    add.delay("1")  # type: ignore[arg-type]
    add.delay(1, z=2)  # type: ignore[call-arg]
    greet.delay(1)  # type: ignore[arg-type]
    bound.delay("1")  # type: ignore[arg-type]
    fetch.delay(1)  # type: ignore[arg-type]
    shared.delay("1")  # type: ignore[arg-type]


async def coroutines() -> None:
    unstarted: Coroutine[Any, Any, bytes] = fetch("url")
    assert_type(await unstarted, bytes)
    assert_type(await fetch("url"), bytes)
    assert_type(await fetch.adelay("url"), AsyncResult[bytes])
    assert_type(await add.aapply_async((1,)), AsyncResult[int])
    assert_type(await add.delay(1), int)
    assert_type(await add.delay(1).aget(timeout=1), int)


class Noting(Middleware):
    def around_send(self, call: Call) -> Iterator[None]:
        assert_type(call.headers, dict[str, Any])
        yield

    async def around_run(self, run: Run) -> AsyncIterator[None]:
        assert_type(run.request, Request)
        yield
