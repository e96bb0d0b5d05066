"""The lines of the log that tell of tasks: Celery's to the letter, for operators filter and count by them."""

from __future__ import annotations

import logging
from typing import Any

from celeriac.einfo import ExceptionInfo
from celeriac.wire.task import TaskMessage

arrivals = logging.getLogger("celery.worker.strategy")
ends = logging.getLogger("celery.app.trace")
_limits = logging.getLogger("celery.worker.request")

_RECEIVED = "Task %(name)s[%(id)s] received"
SUCCESS = "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s"
FAILURE = INTERNAL_ERROR = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
IGNORED = "Task %(name)s[%(id)s] %(description)s"
REJECTED = "Task %(name)s[%(id)s] %(exc)s"
RETRY = "Task %(name)s[%(id)s] retry: %(exc)s"
_REVOKED = "Discarding revoked task: %s[%s]"
_SOFT_LIMIT = "Soft time limit (%ss) exceeded for %s[%s]"
_HARD_LIMIT = "Hard time limit (%ss) exceeded for %s[%s]"


def tell_arrival(message: TaskMessage) -> None:
    name = message.shadow or message.name
    data = {"id": message.id, "name": name, "args": message.argsrepr, "kwargs": message.kwargsrepr}
    arrivals.info(_RECEIVED, data, extra={"data": data})


def tell_revoked(name: str, id: str) -> None:
    arrivals.info(_REVOKED, name, id)


def tell_overrun(name: str, id: str, limit: float | None, *, hard: bool) -> None:
    """Its time limit was over, in seconds."""
    if hard:
        _limits.error(_HARD_LIMIT, limit, name, id)
    else:
        _limits.warning(_SOFT_LIMIT, limit, name, id)


def tell_end(level: int, line: str, data: dict[str, Any], info: ExceptionInfo | None = None) -> None:
    """How a task ended; a handler of the log finds the `data` of its line under that name."""
    if info is not None:
        data["traceback"] = info.traceback
    exc_info = (info.type, info.exception, info.tb) if info is not None else None
    try:
        ends.log(level, line, data, exc_info=exc_info, extra={"data": data})
    except Exception:
        # An error that breaks whoever looks at its traceback: the line is worth more than that.
        ends.log(level, line, data, extra={"data": data})
