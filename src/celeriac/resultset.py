"""Results of many tasks as one: wait for all, or take each as it comes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, cast

import msgspec

from celeriac import aio, revoking, seeking, states
from celeriac.current import App, get_current_app
from celeriac.exceptions import ImproperlyConfigured
from celeriac.message import GROUP_MARK, STREAM_MARK, Result
from celeriac.ports import ResultStore
from celeriac.result import AsyncResult, EagerResult, assert_will_not_block, groups_are, result_from_tuple
from celeriac.waiting import late

R = TypeVar("R")


class ResultSet(Generic[R]):
    """Results in order. What is stored already costs one exchange for all; for the rest one watch waits."""

    #: Whose results these are, where a class of its own says so (`app.ResultSet`).
    app_of_class: Any = None

    def __init__(
        self,
        results: Iterable[Any],
        app: App | None = None,
        ready_barrier: object = None,
        **_named: object,
    ) -> None:
        self.results: list[Any] = results if isinstance(results, list) else list(results)
        self.parent: Any = None
        self._app = self.app_of_class if app is None else app

    # --- waiting ------------------------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], object] | None = None,
        no_ack: bool = True,
        on_message: object = None,
        disable_sync_subtasks: bool = True,
        on_interval: object = None,
        strict: bool = False,
    ) -> list[Any]:
        """The values of all, in order; raises the first error that it hears of, or TimeoutError.

        `strict` as in `AsyncResult.get`: NotFound if nothing will come of one of them.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        for _ in self._arrivals(timeout, propagate, strict):
            pass
        return self._values(propagate, callback)

    join = get
    join_native = get

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        disable_sync_subtasks: bool = True,
        strict: bool = False,
    ) -> list[Any]:
        """The same in a coroutine, without keeping its loop from anything else."""
        if disable_sync_subtasks:
            assert_will_not_block()
        async for _ in self._aarrivals(timeout, propagate, strict):
            pass
        return self._values(propagate, callback)

    ajoin = aget

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self.aget().__await__()

    def iterate(self, timeout: float | None = None, propagate: bool = True) -> Iterator[Any]:
        """The results themselves, each as soon as it is ready: `for result in group.iterate(): ...`."""
        assert_will_not_block()
        return self._arrivals(timeout, propagate)

    def aiterate(self, timeout: float | None = None, propagate: bool = True) -> AsyncIterator[Any]:
        """The same in a coroutine: `async for result in group.aiterate(): ...`."""
        assert_will_not_block()
        return self._aarrivals(timeout, propagate)

    def iter_native(self, *_: object, timeout: float | None = None, **_named: object) -> Iterator[Any]:
        """(id, what is stored of it), each as soon as it is ready."""
        for result in self.iterate(timeout, propagate=False):
            yield result.id, result._meta or {"status": result.status, "result": result.result}

    def then(
        self,
        callback: Callable[[Any], object],
        on_error: Callable[[Any], object] | None = None,
        weak: bool = False,
    ) -> Any:
        """Call it with this once all have ended, on_error once one of them has failed; returns at once.

        Both are called in a thread of their own.
        """

        def wait() -> None:
            try:
                for _ in self._arrivals(None, propagate=True):
                    pass
            except Exception:
                if on_error is not None:
                    on_error(self)
            else:
                callback(self)

        threading.Thread(target=wait, name="celeriac-then", daemon=True).start()
        return self

    # --- looking ------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """All have ended."""
        return not self._unready()

    def waiting(self) -> bool:
        """Some have not ended."""
        return not self.ready()

    def successful(self) -> bool:
        """All have ended well."""
        self._unready()
        return all(result.successful() for result in self.results)

    def failed(self) -> bool:
        """One of them has failed."""
        self._unready()
        return any(result.failed() for result in self.results)

    def completed_count(self) -> int:
        """How many have ended well."""
        self._unready()
        return sum(1 for result in self.results if result.successful())

    def maybe_throw(
        self, callback: Callable[[str, Any], object] | None = None, propagate: bool = True
    ) -> None:
        """Raise the error of one that failed, if there is one."""
        self._unready()
        for result in self.results:
            result.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    @property
    def app(self) -> App:
        if self._app is None:
            first = next((r for r in self.results if r._app is not None), None)
            self._app = first._app if first is not None else get_current_app()
        return cast(App, self._app)

    @property
    def backend(self) -> Any:
        """The store that the results are read from, in Celery's words."""
        return self.app.backend

    @property
    def supports_native_join(self) -> bool:
        """Always: every store tells."""
        return True

    # --- changing -----------------------------------------------------------------------------------------

    def add(self, result: Any) -> None:
        """One more, if it is not there yet."""
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: Any) -> None:
        """Take one out, given as itself or by its id; KeyError if it is not there."""
        try:
            self.results.remove(result)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: Any) -> None:
        """Take one out, if it is there."""
        if result in self.results:
            self.results.remove(result)

    def update(self, results: Iterable[Any]) -> None:
        """Several more."""
        for result in results:
            self.add(result)

    def clear(self) -> None:
        """Take all out."""
        self.results.clear()

    # --- acting -------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Remove all from the store, with their streams, and what came before them in chains."""
        ids = list(dict.fromkeys(_forgotten(self)))
        if ids:
            self._store().forget(ids)

    def revoke(
        self,
        connection: object = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Say that none of them shall begin any more; with `terminate` those that run are ended."""
        ids = [leaf.id for leaf in self._leaves() if leaf._meta is None]
        if ids:
            revoking.revoke(self.app, ids, say=True)
            self.app.control.tell_revoked(
                ids, terminate=terminate, signal=signal, reply=wait, timeout=timeout
            )

    # --- as a value ---------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ResultSet):
            return self.results == other.results
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(result.id for result in self.results)}]>"

    # --- inside -------------------------------------------------------------------------------------------

    def _leaves(self) -> list[AsyncResult[Any]]:
        """The results of single tasks, those of groups among them too."""
        leaves: list[AsyncResult[Any]] = []
        for result in self.results:
            leaves += result._leaves() if isinstance(result, ResultSet) else [result]
        return leaves

    def _unready(self) -> list[AsyncResult[Any]]:
        """Those that have not ended, as the store says in one exchange."""
        unread = [leaf for leaf in self._leaves() if leaf._meta is None and not leaf.ignored]
        if unread:
            for leaf, payload in zip(unread, self._store().load([leaf.id for leaf in unread]), strict=True):
                if payload is not None:
                    leaf._read(payload)
        return [leaf for leaf in unread if leaf._meta is None]

    def _arrivals(
        self, timeout: float | None, propagate: bool, strict: bool = False
    ) -> Iterator[AsyncResult[Any]]:
        """Each single result, once, as soon as it is ready."""
        deadline = None if timeout is None else time.monotonic() + timeout
        unready = {leaf.id: leaf for leaf in self._unready()}
        for leaf in self._leaves():
            if leaf.id not in unready:
                yield _judged(leaf, propagate)
        if not unready:
            return
        landed: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
        ids = list(unready)
        waiting = self.app.waiting
        pauses = seeking.pauses(self.app, unready, timeout) if strict else None

        def put(task_id: str, payload: bytes) -> None:
            landed.put((task_id, payload))

        waiting.enter(ids, put, timeout, every=True)
        try:
            if pauses is not None:
                deadline = time.monotonic() + next(pauses)
            while unready:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                try:
                    task_id, payload = landed.get(timeout=left)
                except Empty:
                    if pauses is None:
                        raise late(list(unready), timeout) from None
                    deadline = time.monotonic() + next(pauses)
                    continue
                ended = _landed(unready, task_id, payload)
                if ended is not None:
                    yield _judged(ended, propagate)
        finally:
            waiting.leave(ids, put)

    async def _aarrivals(
        self, timeout: float | None, propagate: bool, strict: bool = False
    ) -> AsyncIterator[AsyncResult[Any]]:
        unready = {leaf.id: leaf for leaf in await aio.in_thread(self._unready)}
        for leaf in self._leaves():
            if leaf.id not in unready:
                yield _judged(leaf, propagate)
        deadline = None if timeout is None else time.monotonic() + timeout
        known: deque[AsyncResult[Any]] = deque()

        def judge(task_id: str, payload: bytes) -> tuple[bool] | None:
            leaf = _landed(unready, task_id, payload)
            if leaf is None:
                return None
            known.append(leaf)
            return (True,)

        def wait(seconds: float | None) -> Awaitable[bool]:
            return aio.wait_for_result(lambda: self.app.waiting, list(unready), judge, seconds)

        while unready:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if strict:
                await seeking.awaited(self.app, unready, left, wait)
            else:
                await wait(left)
            while known:
                yield _judged(known.popleft(), propagate)

    def _values(self, propagate: bool, callback: Callable[[str, Any], object] | None) -> list[Any]:
        values: list[Any] = []
        for result in self.results:
            if isinstance(result, ResultSet):
                value: Any = result._values(propagate, None)
            elif result.ignored:
                value = None
            else:
                value = result.maybe_throw(propagate=propagate)
            if callback is None:
                values.append(value)
            else:
                callback(result.id, value)
        return values

    def _store(self) -> ResultStore:
        store = self.app.results
        if store is None:
            raise ImproperlyConfigured("Results are off for this app, so nothing is known of its tasks.")
        return store


class GroupResult(ResultSet[R]):
    """The results of a group, under the group's id.

    result = group(fetch.s(url) for url in urls).delay()
    pages = result.get()            # in a thread or a greenlet
    pages = await result            # in a coroutine
    """

    def __init__(
        self,
        id: str | None = None,
        results: Iterable[Any] | None = None,
        parent: Any = None,
        app: App | None = None,
        **_named: object,
    ) -> None:
        super().__init__(results if results is not None else [], app)
        self.id = id
        self.parent = parent

    @property
    def task_id(self) -> str | None:
        """Another word for `id`."""
        return self.id

    @property
    def children(self) -> list[Any]:
        """Another word for `results`."""
        return self.results

    def as_tuple(self) -> tuple[Any, Any]:
        """((id, the parent's tuple), the tuples of its results)."""
        parent = None if self.parent is None else self.parent.as_tuple()
        return (self.id, parent), [result.as_tuple() for result in self.results]

    def save(self, backend: object = None) -> None:
        """Write down which results belong together: `GroupResult.restore(id)` knows them again."""
        app = self.app
        payload = msgspec.json.encode({"result": self.as_tuple()})
        self._store().save(
            [Result(f"{GROUP_MARK}{self.id}", payload, app.conf.seconds("result_expires") or None)]
        )

    @classmethod
    def restore(cls, id: str, backend: object = None, app: App | None = None) -> GroupResult[Any] | None:
        """What was saved under this id; None if nothing was."""
        app = app or cls.app_of_class or get_current_app()
        if app.results is None:
            raise ImproperlyConfigured("Results are off for this app, so no group can be restored.")
        (payload,) = app.results.load([f"{GROUP_MARK}{id}"])
        if payload is None:
            return None
        return cast("GroupResult[Any]", result_from_tuple(msgspec.json.decode(payload)["result"], app))

    def delete(self, backend: object = None) -> None:
        """Forget what was saved."""
        self._store().forget([f"{GROUP_MARK}{self.id}"])

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{', '.join(str(result.id) for result in self.results)}]>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return self.id == other.id and self.results == other.results
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, self.results, self.parent)


def _forgotten(result: Any) -> Iterator[str]:
    """The ids under which the store keeps something of it, and of what came before it; it reads them anew."""
    if isinstance(result, ResultSet):
        for one in result.results:
            yield from _forgotten(one)
    elif not isinstance(result, EagerResult):
        result._meta = None
        yield from (result.id, STREAM_MARK + result.id)
    if result.parent is not None:
        yield from _forgotten(result.parent)


def _landed(unready: dict[str, AsyncResult[Any]], task_id: str, payload: bytes) -> AsyncResult[Any] | None:
    """The result that this payload ends; None if it ends none."""
    leaf = unready.get(task_id)
    if leaf is None or leaf._read(payload)["status"] not in states.READY_STATES:
        return None
    return unready.pop(task_id)


def _judged(leaf: AsyncResult[Any], propagate: bool) -> AsyncResult[Any]:
    if propagate and not leaf.ignored and not isinstance(leaf, EagerResult):
        leaf.maybe_throw()
    return leaf


def _of_tuple(group_id: str, nodes: Sequence[Any], parent: Any, app: App | None) -> GroupResult[Any]:
    return GroupResult(group_id, [result_from_tuple(node, app) for node in nodes], parent, app)


groups_are(_of_tuple)
