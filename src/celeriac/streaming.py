"""What a generator task yields goes to its caller part by part, as it comes.

A part has a number, and the first one that is stored under it stays. So a task that runs again, for it was
retried or its worker died, gives its stream the parts that are missing and none twice.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Protocol

from celeriac import aio
from celeriac.current import App
from celeriac.exceptions import OperationalError
from celeriac.ports import ResultStore
from celeriac.request import Request
from celeriac.wire.result import encode_part, too_large

#: Seconds between two tries while the store is away; after the last one the task fails.
PAUSES = (0.05, 0.2, 0.5, 1.0, 1.0, 2.0, 5.0, 10.0, 10.0)


class Yields(Protocol):
    """What a stream asks of its task."""

    @property
    def app(self) -> App: ...

    @property
    def request(self) -> Request: ...

    @property
    def stream_buffer(self) -> int: ...


def yields(run: Callable[..., Any]) -> bool:
    """It is a generator function, sync or async."""
    return inspect.isgeneratorfunction(run) or inspect.isasyncgenfunction(run)


def streaming(task: Yields, run: Callable[..., Any]) -> Callable[..., Any]:
    """A function that pushes what `run` yields and gives what it returns; called directly, its generator."""
    push_all = _push_all_async if inspect.isasyncgenfunction(run) else _push_all

    @functools.wraps(run)
    def run_and_push(*args: Any, **kwargs: Any) -> Any:
        request = task.request
        parts = run(*args, **kwargs)
        return parts if request.called_directly else push_all(parts, _Outlet(task, request))

    run_and_push.__awaited__ = inspect.isasyncgenfunction(run)  # type: ignore[attr-defined]
    return run_and_push


class _Outlet:
    """Where the parts of one run go."""

    def __init__(self, task: Yields, request: Request) -> None:
        conf = task.app.conf
        self._request = request
        #: None where nobody could read them.
        self._store: ResultStore | None = None
        if request.is_eager:
            request.parts = []
        elif not request.ignore_result:
            self._store = task.app.results
        self._keep = task.stream_buffer
        self._ttl = conf.seconds("result_expires") or None
        self._serializer: str = conf.result_serializer
        self._most: int = conf.task_max_bytes
        self._number = 0

    def push(self, value: Any) -> None:
        """Store one part; while the store is away the task waits."""
        part = encode_part(value, self._serializer)
        if len(part) > self._most:
            raise too_large(self._request.id or "", len(part), self._most)
        self._number += 1
        if self._request.parts is not None:
            self._request.parts.append(value)
        if self._store is not None:
            self._push(self._store, part)

    def _push(self, store: ResultStore, part: bytes) -> None:
        for pause in (*PAUSES, None):
            try:
                store.push(self._request.id or "", self._number, [part], self._keep, self._ttl)
            except OperationalError:
                if pause is None:
                    raise
                time.sleep(pause)
            else:
                return


def _push_all(parts: Generator[Any, None, Any], outlet: _Outlet) -> Any:
    try:
        while True:
            outlet.push(next(parts))
    except StopIteration as end:
        return end.value
    finally:
        parts.close()


async def _push_all_async(parts: AsyncGenerator[Any, None], outlet: _Outlet) -> None:
    try:
        async for part in parts:
            await aio.in_thread(outlet.push, part)
    finally:
        await parts.aclose()
