"""Loggers that know the task they speak for.

log = get_task_logger(__name__)

@app.task
def thumbnail(path):
    log.info("shrinking %s", path)

[2025-04-25 16:14:42,476: INFO/ForkPoolWorker-1] shop.thumbnail[9e1f...]: shrinking cat.png
"""

from __future__ import annotations

import logging

from celeriac.request import current

#: Shown for the task outside of every task.
NO_TASK = "???"
#: The loggers' common parent; a worker gives it the format of task lines.
TASK_LOGGER_NAME = "celery.task"


def get_task_logger(name: str) -> logging.Logger:
    """A logger for the code of tasks: its lines carry the task's name and id, in every pool.

    It keeps its own name (levels set for your module hold), only its lines go the way of `celery.task`.
    """
    if name in ("celery", TASK_LOGGER_NAME):
        raise RuntimeError(f"the logger {name!r} belongs to the worker; take get_task_logger(__name__)")
    _make_real_parents(name)
    logger = logging.getLogger(name)
    if not _below_task_logger(logger):
        logger.parent = logging.getLogger(TASK_LOGGER_NAME)
    return logger


def running_task() -> tuple[str, str]:
    """Name and id of the task that runs here, or `???` twice."""
    request = current()
    if request is None or request.id is None:
        return NO_TASK, NO_TASK
    return request.task or NO_TASK, request.id


class TaskFormatter(logging.Formatter):
    """A formatter whose format may use %(task_name)s and %(task_id)s."""

    def format(self, record: logging.LogRecord) -> str:
        if "task_id" not in record.__dict__:
            record.__dict__["task_name"], record.__dict__["task_id"] = running_task()
        return super().format(record)


def _make_real_parents(name: str) -> None:
    # A parent package whose logger is made later would adopt this one and take its lines away.
    parts = name.split(".")
    for length in range(1, len(parts)):
        logging.getLogger(".".join(parts[:length]))


def _below_task_logger(logger: logging.Logger) -> bool:
    above: logging.Logger | None = logger
    while above is not None:
        if above.name == TASK_LOGGER_NAME:
            return True
        above = above.parent
    return False
