"""The few things that callers inside coroutines need; who has none never pays for importing asyncio."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import copy_context
from functools import partial
from inspect import isawaitable
from typing import Any, ParamSpec, TypeVar

from celeriac.signals import Signal
from celeriac.waiting import Judge, Waiting, late

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("celeriac.signals")


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The value of a function that blocks, while the loop goes on. Not in the loop's own threads: a program
    that keeps those busy would keep us waiting, and if it waits for us in them, for ever."""
    import asyncio

    work = partial(copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_our_threads(), work)


#: Calls that wait for the store at the same moment, at most.
MOST_THREADS = 8
_threads: Any = None


def _our_threads() -> Any:
    global _threads
    if _threads is None:
        from concurrent.futures import ThreadPoolExecutor

        _threads = ThreadPoolExecutor(MOST_THREADS, "celeriac-aio")
    return _threads


def _afterwards(first: Any, work: Callable[[], object]) -> None:
    """Do it when the first has ended, which whoever was cancelled did not wait for."""

    def submit(_: object) -> None:
        # The program ends, and nobody is left for whom this would matter.
        with contextlib.suppress(RuntimeError):
            _our_threads().submit(work)

    first.add_done_callback(submit)


def _forget_threads() -> None:
    # They did not come along into a forked process.
    global _threads
    _threads = None


os.register_at_fork(after_in_child=_forget_threads)


def run(coroutine: Coroutine[Any, Any, R]) -> R:
    """The value of a coroutine, for a caller that is none; a loop that runs here stands meanwhile."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, asyncio.run, coroutine).result()


def drive(steps: Generator[Awaitable[Any], Any, R]) -> R:
    """What a generator returns that yields what has to be awaited: each wait has a loop of its own."""
    try:
        waiting = next(steps)
        while True:
            try:
                value = run(_awaited(waiting))
            except BaseException as error:
                waiting = steps.throw(error)
            else:
                waiting = steps.send(value)
    except StopIteration as end:
        returned: R = end.value
        return returned


def settle(value: Any) -> Any:
    """The value; that of an awaitable is waited for."""
    return run(_awaited(value)) if isawaitable(value) else value


def tell(signal: Signal, sender: Any, **named: Any) -> None:
    """Send a signal whose receivers may be coroutines, from a place that is none."""
    for receiver, answer in signal.send(sender, **named):
        try:
            settle(answer)
        except Exception:
            _log.exception("receiver %r of signal %s raised", receiver, signal.name)


async def _awaited(waiting: Awaitable[R]) -> R:
    return await waiting


async def notices(
    waiting: Callable[[], Waiting], ids: Sequence[str], timeout: float | None = None
) -> AsyncIterator[tuple[str, bytes]]:
    """(id, payload) of what is stored of these ids and of all that is told of them; TimeoutError after a
    silence of `timeout` seconds."""
    import asyncio

    loop = asyncio.get_running_loop()
    landed: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    def put(task_id: str, payload: bytes) -> None:
        # As below.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(landed.put_nowait, (task_id, payload))

    entering = _our_threads().submit(lambda: waiting().enter(ids, put, timeout))
    try:
        await asyncio.wrap_future(entering)
        while True:
            limit = asyncio.timeout(timeout)
            try:
                async with limit:
                    notice = await landed.get()
            except TimeoutError as error:
                if not limit.expired():
                    raise
                raise late(ids, timeout) from error
            yield notice
    finally:
        _afterwards(entering, lambda: waiting().leave(ids, put))


async def wait_for_result(
    waiting: Callable[[], Waiting], ids: Sequence[str], judge: Judge[R], timeout: float | None = None
) -> R:
    """As `waiting().wait`, while the loop goes on, also while `waiting` opens its connection."""
    import asyncio

    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    landed: list[tuple[str, bytes]] = []

    def land(task_id: str, payload: bytes) -> None:
        landed.append((task_id, payload))
        arrived.set()

    def put(task_id: str, payload: bytes) -> None:
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(land, task_id, payload)

    def enter() -> None:
        waiting().enter(ids, put, timeout)

    limit = asyncio.timeout(timeout)
    entering = _our_threads().submit(enter)
    try:
        async with limit:
            await asyncio.wrap_future(entering)
            while True:
                arrived.clear()
                while landed:
                    verdict = judge(*landed.pop(0))
                    if verdict is not None:
                        return verdict[0]
                await arrived.wait()
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise late(ids, timeout) from error
    finally:
        # Not awaited: neither an answer that is here nor a cancelled wait is kept back by a farewell.
        _afterwards(entering, lambda: waiting().leave(ids, put))
