"""`celery.app.trace`: what error trackers replace here stands around each run of a task.

    from celery.app import trace

    original = trace.build_tracer
    trace.build_tracer = lambda name, task, *args, **kwargs: watched(original(name, task, *args, **kwargs))

The tracer of a task is called with (id, args, kwargs, request); the original one runs the task. What it gives
is our outcome and not Celery's, so a tracer in between hands it on as it is. Coroutines are not wrapped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from typing import Any

from celeriac.message import Outcome
from celeriac.request import Request
from celeriac.states import (
    EXCEPTION_STATES,
    FAILURE,
    IGNORED,
    PENDING,
    READY_STATES,
    RECEIVED,
    REJECTED,
    RETRY,
    REVOKED,
    STARTED,
    SUCCESS,
)
from celeriac.task import AsyncTask, Task
from celeriac.worker import tracers

__all__ = [
    "EXCEPTION_STATES",
    "FAILURE",
    "IGNORED",
    "PENDING",
    "READY_STATES",
    "RECEIVED",
    "REJECTED",
    "RETRY",
    "REVOKED",
    "STARTED",
    "SUCCESS",
    "build_tracer",
    "reset_worker_optimizations",
    "setup_worker_optimizations",
    "task_has_custom",
]

_log = logging.getLogger("celery.app.trace")

#: What runs the task for which a tracer is called.
_going: ContextVar[Callable[[], Outcome]] = ContextVar("celeriac_going")


def build_tracer(name: str, task: Any, *_: Any, **__: Any) -> Callable[..., Any]:
    """The innermost tracer: runs the task that the worker has in hand."""

    def run(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        return _going.get()()

    return run


_original = build_tracer


def task_has_custom(task: Any, attr: str) -> bool:
    """Whether a class of the user's own gives the task this attribute."""
    own = getattr(type(task), attr, None)
    return all(own is not getattr(base, attr, None) for base in (Task, AsyncTask))


def setup_worker_optimizations(app: Any, hostname: str | None = None) -> None:
    """Nothing: there are none to be set up."""


def reset_worker_optimizations(app: Any = None) -> None:
    """Nothing: there are none."""


def tracer_of(task: Task[Any, Any]) -> tracers.Tracer | None:
    """What a replaced build_tracer makes for this task."""
    if build_tracer is _original:
        return None
    if task.is_async:
        _tell_of_coroutines(task.name)
        return None
    traced = build_tracer(task.name, task, app=task.app)

    def around(request: Request, go: Callable[[], Outcome]) -> Outcome:
        outcomes: list[Outcome] = []

        def going() -> Outcome:
            outcomes.append(go())
            return outcomes[0]

        before = _going.set(going)
        try:
            traced(request.id, request.args or (), request.kwargs or {}, _told(request))
        except Exception:
            _log.exception("what was put around task %s failed; the task has its own end", task.name)
        finally:
            _going.reset(before)
        return outcomes[0] if outcomes else go()

    return around


@cache
def _tell_of_coroutines(name: str) -> None:
    _log.warning(
        "Task %s is a coroutine, which whoever replaced celery.app.trace.build_tracer does not see: tell it "
        "of errors by a receiver of task_failure, as docs/packages.md shows for Sentry",
        name,
    )


def _told(request: Request) -> dict[str, Any]:
    """The request as the dict that Celery's tracers get."""
    words = "id task args kwargs root_id parent_id retries eta expires group hostname delivery_info headers"
    words += " correlation_id reply_to origin argsrepr kwargsrepr timelimit is_eager"
    return {word: getattr(request, word) for word in words.split()}


tracers.tracer_of = tracer_of
