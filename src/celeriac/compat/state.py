"""`celery._state`: which app and which task are the current ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celeriac import request as requests
from celeriac.compat.app import app_or_default, default_app
from celeriac.current import (
    Shared,
    current_app,
    current_task,
    get_current_app,
    set_current_app,
    set_default_app,
    shared,
)
from celeriac.result import task_join_will_block

__all__ = [
    "app_or_default",
    "connect_on_app_finalize",
    "current_app",
    "current_task",
    "default_app",
    "get_current_app",
    "get_current_task",
    "get_current_worker_task",
    "set_default_app",
    "task_join_will_block",
]


def get_current_task() -> Any:
    """The task that runs here; None outside of tasks."""
    return get_current_app().current_task


def get_current_worker_task() -> Any:
    """The task that the worker runs here, also from within a task that it calls as a function."""
    request = requests.outermost()
    return None if request is None else get_current_app().tasks.get(request.task)


_set_current_app = set_current_app


def _set_task_join_will_block(blocks: bool) -> None:
    """Nothing: whether it may block is known of each task that runs, and not of a process."""


def connect_on_app_finalize(callback: Callable[[Any], object]) -> Callable[[Any], object]:
    """Decorator: have each app that is made ready from now on handed to this function."""
    shared.append(Shared(callback, callback))
    return callback
