"""What does not change from one run of a task to the next, looked up once: half of the overhead is saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celeriac.exceptions import ImproperlyConfigured
from celeriac.middleware import RunHook
from celeriac.rates import interval_of
from celeriac.task import Task
from celeriac.worker import tracers
from celeriac.worker.deduplication import Deduplication

Handler = Callable[..., Any]
#: (soft, hard) seconds; None is no limit.
Limits = tuple[float | None, float | None]


class Habits:
    """Of one task: its settings, and those of its handlers that do something (None for the others)."""

    __slots__ = (
        "after_return",
        "around",
        "before_start",
        "calls_itself",
        "early_ack",
        "ignore_result",
        "interval",
        "is_async",
        "on_failure",
        "on_success",
        "since",
        "straight",
        "task",
        "time_limits",
        "tracer",
        "track_started",
    )

    def __init__(self, task: Task[..., Any]) -> None:
        conf = task.app.conf
        self.task = task
        #: What others put around whole runs. It may change the task, so it is asked for first.
        self.tracer = tracers.tracer_of(task) if tracers.tracer_of is not None else None
        #: How often the attributes and the settings had been changed; when it is more, look again.
        self.since = task._changes, conf.version
        self.is_async = task.is_async
        self.calls_itself = task.calls_itself
        self.early_ack = not task.acks_late
        self.ignore_result = bool(task.ignore_result)
        self.track_started = bool(task.track_started)
        #: Hooks of middleware around each run, outermost first; None if there are none.
        self.around = _around(task)
        #: (soft, hard) seconds, where the call does not say otherwise.
        self.time_limits: Limits = (
            conf.task_soft_time_limit if task.soft_time_limit is None else task.soft_time_limit,
            conf.task_time_limit if task.time_limit is None else task.time_limit,
        )
        #: Seconds between two runs on this node; None is no limit.
        self.interval = _interval(task)
        self.before_start = _overridden(task, "before_start")
        self.on_success = _overridden(task, "on_success")
        self.on_failure = _overridden(task, "on_failure")
        self.after_return = _overridden(task, "after_return")
        #: Between its message and its result is nothing but the function; see `Job._straight`.
        self.straight = (
            not self.is_async
            and not self.track_started
            and task.converter is None
            and self.around is None
            and self.tracer is None
            and self.before_start is self.on_success is self.after_return is None
        )


def _around(task: Task[..., Any]) -> tuple[RunHook, ...] | None:
    app = task.app
    hooks = app.passage.around_run if app.passage is not None else ()
    if app.conf.worker_deduplicate_successful_tasks and task.acks_late:
        hooks = (Deduplication().around_run, *hooks)
    return hooks or None


def _interval(task: Task[..., Any]) -> float | None:
    if task.app.conf.worker_disable_rate_limits:
        return None
    try:
        return interval_of(task.rate_limit)
    except ImproperlyConfigured:
        return None  # told at the start of the worker, and by `celeriac check`


def _overridden(task: Task[..., Any], name: str) -> Handler | None:
    handler: Handler = getattr(task, name)
    return None if getattr(handler, "__func__", handler) is getattr(Task, name) else handler
