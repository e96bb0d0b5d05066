"""What a task tells while it runs, for who follows it: how far it is, and the parts of its stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from celeriac import aio, states
from celeriac.current import App
from celeriac.exceptions import IncompleteStream
from celeriac.message import STREAM_MARK
from celeriac.ports import ResultStore
from celeriac.waiting import Waiting, late
from celeriac.wire.result import decode_part

#: Parts that are read in one exchange.
BATCH = 100


class Followed(NamedTuple):
    """A task that runs elsewhere, as its result knows it."""

    id: str
    app: App
    store: ResultStore
    waiting: Callable[[], Waiting]
    #: A payload of the task's own, decoded.
    read: Callable[[bytes], dict[str, Any]]
    #: It ended.
    is_over: Callable[[], bool]
    #: Raises what it raised.
    throw: Callable[[], object]


class Progress(NamedTuple):
    """How far a task is: what it gave to `self.progress(current, total, message)`."""

    current: float
    total: float | None = None
    message: str | None = None

    @property
    def fraction(self) -> float | None:
        """From 0 to 1; None where the task does not know how much there is to do."""
        return self.current / self.total if self.total else None


class ProgressUpdates:
    """How far a task is, now and whenever it tells, until it has ended: iterate, with `for` or `async for`.

    How it ended is said by the result.
    """

    def __init__(self, followed: Followed, timeout: float | None = None) -> None:
        self._followed = followed
        self._timeout = timeout

    def __iter__(self) -> Iterator[Progress]:
        followed = self._followed
        for _, payload in _notices(followed, [followed.id], self._timeout):
            update = self._update(payload)
            if update is not None:
                yield update
            if followed.is_over():
                return

    async def __aiter__(self) -> AsyncIterator[Progress]:
        followed = self._followed
        async for _, payload in aio.notices(followed.waiting, [followed.id], self._timeout):
            update = self._update(payload)
            if update is not None:
                yield update
            if followed.is_over():
                return

    def _update(self, payload: bytes) -> Progress | None:
        meta = self._followed.read(payload)
        said = meta["result"]
        if meta["status"] != states.PROGRESS or not isinstance(said, dict):
            return None
        return Progress(said.get("current") or 0, said.get("total"), said.get("message"))


class Stream:
    """What a generator task yields, part by part as it comes: iterate, with `for` or `async for`.

    It ends when the task has ended, and raises what the task raised. `last_id` names the part that was given
    last: who has to begin anew goes on with `result.stream(after=last_id)`.
    """

    def __init__(
        self, followed: Followed, after: str | int | None = None, timeout: float | None = None
    ) -> None:
        self._followed = followed
        self._last = _number(after)
        self._timeout = timeout

    @property
    def last_id(self) -> str:
        """The id of the part that was given last; "0" before the first."""
        return str(self._last)

    def __iter__(self) -> Iterator[Any]:
        followed = self._followed
        for task_id, payload in _notices(followed, self._ids, self._timeout):
            is_over = self._is_end(task_id, payload)
            while batch := self._next():
                yield from self._given(batch)
            if is_over:
                followed.throw()
                return

    async def __aiter__(self) -> AsyncIterator[Any]:
        followed = self._followed
        async for task_id, payload in aio.notices(followed.waiting, self._ids, self._timeout):
            is_over = self._is_end(task_id, payload)
            while batch := await aio.in_thread(self._next):
                for value in self._given(batch):
                    yield value
            if is_over:
                followed.throw()
                return

    @property
    def _ids(self) -> list[str]:
        return [self._followed.id, STREAM_MARK + self._followed.id]

    def _is_end(self, task_id: str, payload: bytes) -> bool:
        """Looked at before the parts are read: all of them were stored before the end was."""
        if task_id == self._followed.id:
            self._followed.read(payload)
        return self._followed.is_over()

    def _next(self) -> list[tuple[int, bytes]]:
        return self._followed.store.parts(self._followed.id, self._last, BATCH)

    def _given(self, batch: list[tuple[int, bytes]]) -> Iterator[Any]:
        conf = self._followed.app.conf
        accept = conf.result_accept_content or conf.accept_content
        for number, part in batch:
            if number != self._last + 1:
                raise IncompleteStream(
                    f"parts {self._last + 1} to {number - 1} of task {self._followed.id} are gone: they were "
                    "not read in time, and only the last ones are kept (task_stream_buffer). To go on "
                    f"without them: result.stream(after={str(number - 1)!r})"
                )
            self._last = number
            yield decode_part(part, accept)


class Yielded:
    """What a task yielded that ran here and now, to be read like a stream."""

    def __init__(self, parts: list[Any], throw: Callable[[], object] = lambda: None) -> None:
        self._parts = parts
        self._throw = throw

    def __iter__(self) -> Iterator[Any]:
        yield from self._parts
        self._throw()

    async def __aiter__(self) -> AsyncIterator[Any]:
        for part in self:
            yield part


def _number(after: str | int | None) -> int:
    try:
        return int(after or 0)
    except ValueError:
        raise ValueError(
            f"after takes the last_id of a stream, as in stream(after='12'), not {after!r}"
        ) from None


def _notices(followed: Followed, ids: list[str], timeout: float | None) -> Iterator[tuple[str, bytes]]:
    """What is stored of these ids, then what is told of them; TimeoutError after a silence of `timeout`."""
    landed: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
    waiting = followed.waiting()

    def put(task_id: str, payload: bytes) -> None:
        landed.put((task_id, payload))

    waiting.enter(ids, put, timeout)
    try:
        while True:
            try:
                yield landed.get(timeout=timeout)
            except Empty:
                raise late(ids, timeout or 0.0) from None
    finally:
        waiting.leave(ids, put)
