"""Celeriac: a distributed task queue with Celery's programming model on an engine of its own."""

from __future__ import annotations

from celeriac.app import Celery
from celeriac.canvas import (
    Signature,
    chain,
    chord,
    chunks,
    group,
    maybe_signature,
    signature,
    subtask,
    xmap,
    xstarmap,
)
from celeriac.current import current_app, current_task
from celeriac.result import AsyncResult, EagerResult
from celeriac.resultset import GroupResult, ResultSet
from celeriac.shared import shared_task
from celeriac.task import Task
from celeriac.version import __version__ as __version__
from celeriac.wire.ids import new_id as uuid

__all__ = [
    "AsyncResult",
    "Celery",
    "EagerResult",
    "GroupResult",
    "ResultSet",
    "Signature",
    "Task",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "maybe_signature",
    "shared_task",
    "signature",
    "subtask",
    "uuid",
    "xmap",
    "xstarmap",
]
