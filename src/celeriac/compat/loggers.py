"""The loggers that `celery.utils.log` names."""

from __future__ import annotations

import logging
from multiprocessing import get_logger as get_multiprocessing_logger

from celeriac.compat.utils import LOG_LEVELS

__all__ = [
    "LOG_LEVELS",
    "base_logger",
    "get_logger",
    "get_multiprocessing_logger",
    "mlevel",
    "task_logger",
    "worker_logger",
]

base_logger = logging.getLogger("celery")
task_logger = logging.getLogger("celery.task")
worker_logger = logging.getLogger("celery.worker")


def get_logger(name: str | logging.Logger) -> logging.Logger:
    """A logger by its name."""
    return logging.getLogger(name) if isinstance(name, str) else name


def mlevel(level: int | str | None) -> int | None:
    """The number of a level given by name or number."""
    if not level or isinstance(level, int):
        return level or None
    return logging.getLevelNamesMapping()[level.upper()]
