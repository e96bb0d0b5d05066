"""`celery.app.task`: the Task class, and the request by its name there."""

from __future__ import annotations

from celeriac.request import Request as Context
from celeriac.task import Task

__all__ = ["BaseTask", "Context", "Task"]

BaseTask = Task
