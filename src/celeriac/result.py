"""What a caller holds of a task that runs elsewhere: its state, and in time its value or its error."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

from celeriac import aio, revoking, seeking, states
from celeriac import request as requests
from celeriac.current import App, get_current_app
from celeriac.exceptions import (
    ImproperlyConfigured,
    IncompleteStream,
    TaskError,
    TaskRevokedError,
    TimeoutError,
)
from celeriac.graph import DependencyGraph
from celeriac.message import STREAM_MARK
from celeriac.ports import ResultStore
from celeriac.updates import Followed, ProgressUpdates, Stream, Yielded
from celeriac.waiting import Waiting
from celeriac.wire.result import decode_exception, decode_result

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Meta = dict[str, Any]
_UNKNOWN: Meta = {"status": states.PENDING, "result": None, "traceback": None, "children": None}

#: What `allow_join_result` and `denied_join_result` say, against the pool's own word.
_joining: ContextVar[bool | None] = ContextVar("celeriac_joining", default=None)


class AsyncResult(Generic[R_co]):
    """The result of one call, by the call's id.

        result = add.delay(2, 2)
        result.get(timeout=10)      # in a thread or a greenlet
        await result                # in a coroutine

    Nobody remembers every id that was ever sent, so an unknown one reads PENDING. Who must know asks
    `found()`, or `get(strict=True)`, which raises NotFound.
    """

    __slots__ = ("__weakref__", "_app", "_meta", "id", "ignored", "parent", "task_name")

    #: What get() raises when its time is over.
    TimeoutError = TimeoutError

    def __init__(
        self,
        id: str,
        backend: object = None,
        task_name: str | None = None,
        app: App | None = None,
        parent: Any = None,
    ) -> None:
        if not id:
            raise ValueError("task_id must not be empty")
        self.id = id
        self.task_name = task_name
        self.parent = parent
        #: The call said ignore_result: get() gives None at once.
        self.ignored = False
        self._app = app
        self._meta: Meta | None = None

    # --- waiting ------------------------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
        strict: bool = False,
        EXCEPTION_STATES: object = None,  # noqa: N803 - Celery's name; of no use here, like the next
        PROPAGATE_STATES: object = None,  # noqa: N803
    ) -> R_co:
        """Wait for the value; raises what the task raised, or TimeoutError after `timeout` seconds.

        `strict` never waits for nothing: NotFound if the store has neither a result nor a message out of
        which one could come. It looks before it waits and every now and then, as `found` does.

        The result is told, not polled for: `interval`, `no_ack`, `on_interval` are not needed.
        """
        if self.ignored:
            return cast(R_co, None)
        if disable_sync_subtasks:
            assert_will_not_block()
        if not self._is_final():
            ids, judge = self._watched(propagate and follow_parents, on_message)
            if strict:
                waiting = self._waiting()
                seeking.waited(self.app, [self.id], timeout, lambda pause: waiting.wait(ids, judge, pause))
            else:
                self._waiting().wait(ids, judge, timeout)
        return self._conclude(propagate, callback)

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        disable_sync_subtasks: bool = True,
        strict: bool = False,
    ) -> R_co:
        """The same in a coroutine, without keeping its loop from anything else."""
        if self.ignored:
            return cast(R_co, None)
        if disable_sync_subtasks:
            assert_will_not_block()
        if timeout is not None and timeout <= 0:
            # There is no time to be told, but to look, as in get().
            await aio.in_thread(self._look)
        if not self._is_final():
            ids, judge = self._watched(propagate and follow_parents, None)
            if strict:

                def wait(pause: float) -> Awaitable[Meta]:
                    return aio.wait_for_result(self._waiting, ids, judge, pause)

                await seeking.awaited(self.app, [self.id], timeout, wait)
            else:
                await aio.wait_for_result(self._waiting, ids, judge, timeout)
        return self._conclude(propagate, callback)

    def __await__(self) -> Generator[Any, None, R_co]:
        return self.aget().__await__()

    wait = get

    def _is_final(self) -> bool:
        return self._meta is not None

    def _watched(
        self, with_parents: bool, on_message: Callable[[Meta], object] | None
    ) -> tuple[list[str], Callable[[str, bytes], tuple[Meta] | None]]:
        """The ids to wait for, and what ends the waiting: this task's end, or that an earlier one failed."""
        nodes: dict[str, AsyncResult[Any]] = {self.id: self}
        if with_parents:
            nodes.update((node.id, node) for node in self._parents())

        def judge(task_id: str, payload: bytes) -> tuple[Meta] | None:
            node = nodes[task_id]
            meta = node._read(payload)
            if on_message is not None and node is self:
                on_message(meta)
            if node is self:
                return (meta,) if meta["status"] in states.READY_STATES else None
            if meta["status"] in states.PROPAGATE_STATES:
                raise _as_told(_error_of(meta))
            return None

        return list(nodes), judge

    def _conclude(self, propagate: bool, callback: Callable[[str, Any], object] | None) -> R_co:
        if propagate:
            self.maybe_throw(callback=callback)
        elif callback is not None:
            callback(self.id, self.result)
        return cast(R_co, self.result)

    # --- following ----------------------------------------------------------------------------------------

    def progress(self, timeout: float | None = None) -> ProgressUpdates:
        """How far the task is, now and whenever it says so with `self.progress(...)`, until it has ended:

            for update in result.progress():            # or async for
                print(update.current, update.total, update.message)

        TimeoutError if it says nothing for `timeout` seconds.
        """
        return ProgressUpdates(self._followed(), timeout)

    def stream(self, after: str | int | None = None, timeout: float | None = None) -> Stream:
        """What a task that is a generator yields, as it comes, until it has ended:

            for part in result.stream():                # or async for
                print(part)

        Who reads late begins with the first part all the same; `after`, the `last_id` of an earlier stream,
        goes on behind that part. TimeoutError if nothing comes for `timeout` seconds.
        """
        if self.ignored:
            raise ImproperlyConfigured(
                f"task {self.task_name or self.id} says ignore_result, so nobody will hear of its end: "
                "a task that streams needs its result"
            )
        return Stream(self._followed(), after, timeout)

    def _followed(self) -> Followed:
        return Followed(
            self.id,
            self.app,
            self._store(),
            self._waiting,
            self._read,
            self._is_final,
            self.maybe_throw,
        )

    # --- looking ------------------------------------------------------------------------------------------

    @property
    def task_id(self) -> str:
        """Another word for `id`."""
        return self.id

    @property
    def app(self) -> App:
        if self._app is None:
            self._app = get_current_app()
        return self._app

    @property
    def backend(self) -> Any:
        """The store that the result is read from, in Celery's words."""
        return self.app.backend

    @property
    def supports_native_join(self) -> bool:
        """Always: every store tells."""
        return True

    @property
    def status(self) -> str:
        """PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED, or the task's own word."""
        return str(self._look()["status"])

    @property
    def state(self) -> str:
        """Another word for `status`."""
        return self.status

    @property
    def result(self) -> Any:
        """The value, or the exception; for other states what update_state() gave."""
        meta = self._look()
        return _error_of(meta) if meta["status"] in states.EXCEPTION_STATES else meta["result"]

    @property
    def info(self) -> Any:
        """Another word for `result`."""
        return self.result

    @property
    def traceback(self) -> str | None:
        """The text of the failure's traceback."""
        return self._look().get("traceback")

    @property
    def children(self) -> list[AsyncResult[Any]] | None:
        """The results of the calls that the task made; None while it is not done."""
        children = self._look().get("children")
        if children is None:
            return None
        return [result_from_tuple(child, self.app) for child in children]

    @property
    def date_done(self) -> datetime | None:
        """When it ended."""
        done = self._look().get("date_done")
        return datetime.fromisoformat(done) if isinstance(done, str) else done

    @property
    def name(self) -> str | None:
        """The task's name (with result_extended)."""
        return self._look().get("name")

    @property
    def args(self) -> Any:
        """What it was called with (with result_extended)."""
        return self._look().get("args")

    @property
    def kwargs(self) -> Any:
        """What it was called with by name (with result_extended)."""
        return self._look().get("kwargs")

    @property
    def worker(self) -> str | None:
        """The node that ran it (with result_extended)."""
        return self._look().get("worker")

    @property
    def retries(self) -> int | None:
        """How often it was tried again (with result_extended)."""
        return self._look().get("retries")

    @property
    def queue(self) -> str | None:
        """The queue that it waited in (with result_extended)."""
        return self._look().get("queue")

    def ready(self) -> bool:
        """It ended, well or not."""
        return self.status in states.READY_STATES

    def successful(self) -> bool:
        """It ended well."""
        return self.status == states.SUCCESS

    def failed(self) -> bool:
        """It ended with an error."""
        return self.status == states.FAILURE

    def exists(self) -> bool:
        """The store has a result of this id, if only a state on the way."""
        return self._meta is not None or self._store().load([self.id])[0] is not None

    def found(self) -> bool:
        """The store has a result, or a message out of which one can come: of this task, or of one that it
        comes after, delayed, ready or claimed by a worker.

        For who was given an id by somebody else, or comes back after long. With no result to see it reads all
        messages, which takes some 15 us for each of them, and before it says False twice that. It does not
        say False of what is there, unless a message moves back (a retry, a task that is put off) in the
        middle of both looks; of a task that a stock Celery worker has acknowledged early, and of what comes
        after that, it cannot know while it runs. A dead letter is an end: it leaves its result, FAILURE,
        and is not looked for.
        """
        return self._meta is not None or not seeking.lost(self.app, [self.id])

    async def afound(self) -> bool:
        """The same in a coroutine."""
        return await aio.in_thread(self.found)

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, Any], object] | None = None
    ) -> Any:
        """The value if there is one; raises the error if it failed or was revoked."""
        meta = self._look()
        value = self.result
        if callback is not None:
            callback(self.id, value)
        if propagate and meta["status"] in states.PROPAGATE_STATES:
            raise _as_told(value)
        return value

    maybe_reraise = maybe_throw

    def then(
        self,
        callback: Callable[[Any], object],
        on_error: Callable[[Any], object] | None = None,
        weak: bool = False,
    ) -> Any:
        """Call it with this once the task has ended well, on_error once it has failed; returns at once.

        Both are called in a thread of their own.
        """
        ended = threading.Event()

        def put(_: str, payload: bytes) -> None:
            if self._read(payload)["status"] in states.READY_STATES and not ended.is_set():
                ended.set()
                threading.Thread(target=tell, name="celeriac-then", daemon=True).start()

        def tell() -> None:
            self.app.waiting.leave([self.id], put)
            if self.successful():
                callback(self)
            elif on_error is not None:
                on_error(self)

        self._waiting().enter([self.id], put)
        return self

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """(parent, result) of this and of all tasks that it called, and those called, level by level.

        IncompleteStream if one has not ended, unless `intermediate`.
        """
        coming: deque[tuple[Any, Any]] = deque([(None, self)])
        while coming:
            parent, node = coming.popleft()
            yield parent, node
            if node.ready():
                coming.extend((node, child) for child in node.children or ())
            elif not intermediate:
                raise IncompleteStream(f"task {node.id} has not ended, so what it calls is not known yet")

    def collect(self, intermediate: bool = False, **options: Any) -> Iterator[tuple[Any, Any]]:
        """(result, value) of this and of all that it called, waiting for each."""
        coming: deque[Any] = deque([self])
        while coming:
            node = coming.popleft()
            yield node, node.get(**options)
            coming.extend(node.children or ())

    def build_graph(
        self, intermediate: bool = False, formatter: Callable[[Any], str] | None = None
    ) -> DependencyGraph:
        """This and all that it called, each with what it called: `result.graph.to_dot(file)` draws it."""
        made = DependencyGraph(formatter=formatter)
        for parent, node in self.iterdeps(intermediate):
            made.add_arc(node)
            if parent is not None:
                made.add_edge(parent, node)
        return made

    @property
    def graph(self) -> DependencyGraph:
        """`build_graph()` of what has ended."""
        return self.build_graph()

    def get_leaf(self) -> Any:
        """The value of the last of all that it called."""
        return deque(self.collect(), maxlen=1)[0][1]

    # --- acting -------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Remove the result from the store, and those of the tasks before it in a chain."""
        self._meta = None
        if self.parent is not None:
            self.parent.forget()
        self._store().forget([self.id, STREAM_MARK + self.id])

    def revoke(
        self,
        connection: object = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Say that it shall not begin any more, also to workers that start later.

        With `terminate` it is ended too if it runs: on prefork its process is killed, elsewhere an error is
        raised in it. It ends as REVOKED, and get() raises TaskRevokedError.
        """
        if self._meta is None:
            revoking.revoke(self.app, [self.id], say=not self.ignored)
            self.app.control.tell_revoked(
                self.id, terminate=terminate, signal=signal, reply=wait, timeout=timeout
            )

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        connection: object = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Say that no task with one of these stamps shall begin any more: `app.control` does the same."""
        how = {"terminate": terminate, "signal": signal or "SIGTERM", "reply": wait, "timeout": timeout}
        self.app.control.revoke_by_stamped_headers(headers, **how)

    # --- as a value ---------------------------------------------------------------------------------------

    def as_tuple(self) -> tuple[Any, Any]:
        """((id, the parent's tuple), None): how results are written down; `result_from_tuple` reads it."""
        return (self.id, self.parent.as_tuple() if self.parent is not None else None), None

    def as_list(self) -> list[str]:
        """This id and those of all parents."""
        return [self.id, *(parent.id for parent in self._parents())]

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return self.id == other.id
        return self.id == other if isinstance(other, str) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, None, self.task_name, None, self.parent)

    def __copy__(self) -> AsyncResult[R_co]:
        return type(self)(self.id, None, self.task_name, self._app, self.parent)

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncResult[R_co]:
        return self.__copy__()

    # --- inside -------------------------------------------------------------------------------------------

    def _parents(self) -> Iterator[AsyncResult[Any]]:
        """The single tasks before it; the header of a chord, a group, is none."""
        node: Any = self.parent
        while node is not None:
            if isinstance(node, AsyncResult):
                yield node
            node = node.parent

    def _waiting(self) -> Waiting:
        self._store()
        return self.app.waiting

    def _store(self) -> ResultStore:
        return store_of(self.app)

    def _look(self) -> Meta:
        if self._meta is not None:
            return self._meta
        payload = self._store().load([self.id])[0]
        return _UNKNOWN if payload is None else self._read(payload)

    #: A private name of Celery's that packages which show progress call all the same.
    _get_task_meta = _look

    def _read(self, payload: bytes) -> Meta:
        conf = self.app.conf
        meta = decode_result(payload, conf.result_accept_content or conf.accept_content)
        if meta["status"] in states.READY_STATES:
            # Nothing follows the end: it is kept, and never asked for again.
            self._meta = meta
        return meta


class EagerResult(AsyncResult[R_co]):
    """The result of a task that ran here and now: `task.apply()`, or any call with task_always_eager."""

    __slots__ = ("_value", "parts")

    def __init__(
        self,
        id: str,
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(id, task_name=name)
        self._value = ret_value
        #: What it has yielded.
        self.parts: list[Any] = []
        self._meta = {
            "status": state,
            "result": ret_value,
            "traceback": traceback,
            "children": [],
            "name": name,
        }

    def get(self, timeout: float | None = None, propagate: bool = True, *_: Any, **_named: Any) -> R_co:
        if self.successful() or not propagate:
            return cast(R_co, self.result)
        if self.status in states.PROPAGATE_STATES:
            raise (
                self.result if isinstance(self.result, BaseException) else RuntimeError(f"{self.result!r}")
            )
        return cast(R_co, None)

    wait = get

    async def aget(
        self, timeout: float | None = None, propagate: bool = True, *_: Any, **_named: Any
    ) -> R_co:
        return self.get(timeout, propagate)

    @property
    def result(self) -> Any:
        return self._value

    def ready(self) -> bool:
        return True

    def stream(self, after: str | int | None = None, timeout: float | None = None) -> Yielded:  # type: ignore[override]
        """All that it yielded, after the part of this number."""
        return Yielded(self.parts[int(after or 0) :], self.maybe_throw)

    def progress(self, timeout: float | None = None) -> Yielded:  # type: ignore[override]
        """Nothing: it has ended."""
        return Yielded([])

    def forget(self) -> None:
        """There is nothing to forget: it was never stored."""

    def revoke(self, *_args: object, **_named: object) -> None:
        self._value = TaskRevokedError("revoked")
        self._meta = {**(self._meta or {}), "status": states.REVOKED, "result": self._value}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, self._value, self.status, self.traceback, self.task_name)

    def __copy__(self) -> EagerResult[R_co]:
        return type(self)(self.id, self._value, self.status, self.traceback, self.task_name)


def store_of(app: App) -> ResultStore:
    """Where the results of this app are; where they are off an error that says how to turn them on."""
    store = app.results
    if store is None:
        raise ImproperlyConfigured(
            "Results are off for this app, so nothing is known of its tasks. Set result_backend, as in "
            "Celery(..., backend='redis://localhost:6379/0'), or the variable CELERY_RESULT_BACKEND."
        )
    return store


def result_from_tuple(r: Any, app: App | None = None) -> Any:
    """The result that `as_tuple` wrote down; with nodes it is that of a group."""
    if not isinstance(r, list | tuple):
        return r
    this, nodes = r
    task_id, parent = this if isinstance(this, list | tuple) else (this, None)
    before = None if parent is None else result_from_tuple(parent, app)
    if nodes is not None:
        return _group(task_id, nodes, before, app)
    return AsyncResult(task_id, app=app, parent=before)


def groups_are(made: Callable[[str, Any, Any, App | None], Any]) -> None:
    """How to make the result of a group: known to resultset.py, which stands above this file."""
    global _group
    _group = made


_group: Callable[[str, Any, Any, App | None], Any]


def assert_will_not_block() -> None:
    """RuntimeError inside a task: it would hold its room while the other task may need that room to run."""
    if task_join_will_block():
        raise RuntimeError(
            "get() inside a task can wait for ever: the task that it waits for may need this very room. "
            "Use a chain or a callback; or, where you know better, `with allow_join_result():` or "
            "get(disable_sync_subtasks=False)."
        )


def task_join_will_block() -> bool:
    """Waiting for a result here could stop the task that is waited for."""
    word = _joining.get()
    if word is not None:
        return word
    request = requests.current()
    return (
        request is not None
        and request.waiting_blocks
        and not request.called_directly
        and not request.is_eager
    )


@contextlib.contextmanager
def allow_join_result() -> Iterator[None]:
    """Inside, a task may wait for another task's result."""
    token = _joining.set(False)
    try:
        yield
    finally:
        _joining.reset(token)


@contextlib.contextmanager
def denied_join_result() -> Iterator[None]:
    """Inside, nobody may wait for a result."""
    token = _joining.set(True)
    try:
        yield
    finally:
        _joining.reset(token)


def _as_told(error: BaseException) -> BaseException:
    """What its caller gets: that a task called sys.exit() or was cancelled shall not end who waits for it."""
    if isinstance(error, Exception):
        return error
    told = TaskError(f"the task ended with {error!r}")
    told.__cause__ = error
    return told


def _error_of(meta: Meta) -> BaseException:
    """The exception of a meta, rebuilt once."""
    error = meta["result"]
    if not isinstance(error, BaseException):
        error = meta["result"] = decode_exception(error)
    return error
