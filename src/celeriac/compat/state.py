"""`celery._state`: which app and which task are the current ones."""

from __future__ import annotations

from typing import Any

from celeriac.current import current_app, current_task, get_current_app, set_default_app
from celeriac.result import task_join_will_block

__all__ = [
    "current_app",
    "current_task",
    "get_current_app",
    "get_current_task",
    "set_default_app",
    "task_join_will_block",
]


def get_current_task() -> Any:
    """The task that runs here; None outside of tasks."""
    return get_current_app().current_task
