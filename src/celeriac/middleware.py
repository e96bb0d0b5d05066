"""What every call passes on its way: when it is sent, and when it runs.

    class Tenant(Middleware):
        def around_send(self, call: Call) -> Iterator[None]:
            call.headers["tenant"] = tenant.get()
            yield

        def around_run(self, run: Run) -> Iterator[None]:
            with tenant_is(run.request.headers["tenant"]):
                yield

    app.add_middleware(Tenant())

A hook is a generator with one `yield`, where the rest happens; what goes wrong there is raised at the
`yield`. So one hook serves tasks of both kinds, `def` and `async def`, and keeps what it needs in its own
variables.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from functools import cached_property
from types import TracebackType
from typing import Any

from celeriac.exceptions import ImproperlyConfigured
from celeriac.importing import import_named
from celeriac.message import Message
from celeriac.request import Request
from celeriac.wire.ids import new_id


class Call:
    """A call that is about to be sent. A hook may change everything but the name and the task."""

    __slots__ = ("args", "kwargs", "message", "name", "options", "task")

    def __init__(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any], task: Any
    ) -> None:
        self.name = name
        self.args = tuple(args)
        self.kwargs = dict(kwargs)
        #: As for apply_async: queue, countdown, headers, ...
        self.options: dict[str, Any] = dict(options)
        self.options["task_id"] = self.options.get("task_id") or new_id()
        if self.options.get("headers"):
            self.options["headers"] = dict(self.options["headers"])
        #: None where only the name is known.
        self.task = task
        #: What was made of it; None until then.
        self.message: Message | None = None

    @property
    def id(self) -> str:
        """The id of the task."""
        return str(self.options["task_id"])

    @property
    def headers(self) -> dict[str, Any]:
        """Headers of the sender's own: `request.headers` of the run has them."""
        if self.options.get("headers") is None:
            self.options["headers"] = {}
        headers: dict[str, Any] = self.options["headers"]
        return headers


class Run:
    """A task that is about to run in a worker, or eagerly."""

    __slots__ = ("args", "kwargs", "request", "task", "value")

    def __init__(self, task: Any, request: Request, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.task = task
        self.request = request
        self.args = tuple(args)
        self.kwargs = dict(kwargs)
        #: What it returned, once it has; the hook may put something else here.
        self.value: Any = None


class Middleware:
    """Override what you need.

    The one that was added first is the outermost. A hook that raises before its `yield` keeps the call from
    happening, one that catches the error of its `yield` makes a success of it.
    """

    def around_send(self, call: Call) -> Iterator[None]:
        """Around the sending of every call, by whomever: delay(), a chain, a retry, a callback.

        What one call sends is sent at the `yield`. Where many go in one exchange (apply_many, workflows), or
        with the settlement of the task that they follow, the message is only made there.
        """
        yield

    def around_run(self, run: Run) -> Iterator[None] | AsyncIterator[None]:
        """Around every run of a task but direct calls; `async def` if it must await something.

        Retry, Ignore and Reject are raised here like errors. A hook that ends without a `yield` has answered
        in the task's place, with `run.value`.
        """
        return iter((None,))


#: An entry of the setting `middleware`: an instance, its class, or where to import either from.
Entry = Middleware | type[Middleware] | str
SendHook = Callable[[Call], Iterator[None]]
RunHook = Callable[[Run], Iterator[None] | AsyncIterator[None]]
#: A run that yields what has to be awaited, and returns the task's value.
Steps = Generator[Awaitable[Any], Any, Any]


class Passage:
    """All middleware of an app, in order. Imported at the first call: it may import the app in turn."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)

    @cached_property
    def installed(self) -> tuple[Middleware, ...]:
        return tuple(_instance(entry) for entry in self._entries)

    @cached_property
    def around_send(self) -> tuple[SendHook, ...]:
        return tuple(
            one.around_send for one in self.installed if type(one).around_send is not Middleware.around_send
        )

    @cached_property
    def around_run(self) -> tuple[RunHook, ...]:
        return tuple(
            one.around_run for one in self.installed if type(one).around_run is not Middleware.around_run
        )

    def send(self, call: Call, last: Callable[[Call], None]) -> Message:
        """The message of a call that passed all hooks; `last` makes it, and sends it where one can."""
        with ExitStack() as stack:
            for hook in self.around_send:
                passing = _Passing(hook(call))
                stack.enter_context(passing)
                if passing.answered:
                    raise RuntimeError(
                        f"{_name(hook)} ended without a yield: to keep a call from being sent, raise an error"
                    )
            last(call)
        if call.message is None:
            raise RuntimeError(f"the error of making a message of {call.name} was swallowed by middleware")
        return call.message


def pass_through(hooks: Sequence[RunHook], run: Run, last: Callable[[Run], Steps]) -> Steps:
    """Run a task within these hooks."""
    if any(inspect.isasyncgenfunction(hook) for hook in hooks):
        return (yield _in_coroutine(hooks, run, last))
    with ExitStack() as stack:
        for hook in hooks:
            passing = _Passing(hook(run))
            stack.enter_context(passing)
            if passing.answered:
                return run.value
        run.value = yield from last(run)
    return run.value


async def _in_coroutine(hooks: Sequence[RunHook], run: Run, last: Callable[[Run], Steps]) -> Any:
    async with AsyncExitStack() as stack:
        for hook in hooks:
            passing = hook(run)
            if isinstance(passing, AsyncIterator):
                inside = _AsyncPassing(passing)
                await stack.enter_async_context(inside)
                answered = inside.answered
            else:
                entered = _Passing(passing)
                stack.enter_context(entered)
                answered = entered.answered
            if answered:
                return run.value
        run.value = await _awaited(last(run))
    return run.value


async def _awaited(steps: Steps) -> Any:
    try:
        waiting = next(steps)
        while True:
            try:
                value = await waiting
            except BaseException as error:
                waiting = steps.throw(error)
            else:
                waiting = steps.send(value)
    except StopIteration as end:
        return end.value


class _Passing(AbstractContextManager["_Passing"]):
    """A hook that is under way; as contextlib's, but it may end without a yield."""

    def __init__(self, hook: Any) -> None:
        self._hook = hook
        self.answered = False

    def __enter__(self) -> _Passing:
        try:
            next(self._hook)
        except StopIteration:
            self.answered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self.answered:
            return False
        try:
            if error is None:
                next(self._hook)
            else:
                self._hook.throw(error)
        except StopIteration:
            return error is not None
        except BaseException as raised:
            if raised is not error:
                raise
            return False  # let through: it goes on as it came
        self._hook.close()
        raise RuntimeError(_TWICE)


class _AsyncPassing(AbstractAsyncContextManager["_AsyncPassing"]):
    """The same for an `async def` hook."""

    def __init__(self, hook: Any) -> None:
        self._hook = hook
        self.answered = False

    async def __aenter__(self) -> _AsyncPassing:
        try:
            await anext(self._hook)
        except StopAsyncIteration:
            self.answered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self.answered:
            return False
        try:
            if error is None:
                await anext(self._hook)
            else:
                await self._hook.athrow(error)
        except StopAsyncIteration:
            return error is not None
        except BaseException as raised:
            if raised is not error:
                raise
            return False  # let through: it goes on as it came
        await self._hook.aclose()
        raise RuntimeError(_TWICE)


_TWICE = "a hook of a middleware yields once: there the call is sent, or the task runs"


def _instance(entry: Entry) -> Middleware:
    named = import_named(entry, "middleware") if isinstance(entry, str) else entry
    made = named() if isinstance(named, type) else named
    if not isinstance(made, Middleware):
        raise ImproperlyConfigured(
            f"middleware: {entry!r} is no celeriac.middleware.Middleware, but {type(made).__name__}"
        )
    if not inspect.isgeneratorfunction(made.around_send):
        raise ImproperlyConfigured(
            f"{_name(made.around_send)} must be a plain generator: a `def` with a `yield` where one sends"
        )
    run = made.around_run
    overridden = type(made).around_run is not Middleware.around_run
    if overridden and not (inspect.isgeneratorfunction(run) or inspect.isasyncgenfunction(run)):
        raise ImproperlyConfigured(f"{_name(run)} must be a generator, with a `yield` where the task runs")
    return made


def _name(hook: Any) -> str:
    return str(getattr(hook, "__qualname__", hook))
