"""`app.log`: loggers, and logging for a program that is no worker, in Celery's words.

logger = app.log.get_default_logger()
app.log.setup(loglevel="INFO")          # in a script; a worker sets up its own
"""

from __future__ import annotations

import logging
from typing import Any

from celeriac import signals
from celeriac.app import Celery
from celeriac.compat.loggers import get_logger, mlevel

__all__ = ["Logging"]


class Logging:
    """Of one app."""

    #: A worker, or somebody before, has set logging up in this process.
    already_setup = False

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.loglevel = logging.WARNING
        self.format: str = app.conf.worker_log_format
        self.task_format: str = app.conf.worker_task_log_format

    def get_default_logger(self, name: str = "celery", **_: Any) -> logging.Logger:
        return get_logger(name)

    def setup(
        self,
        loglevel: int | str | None = None,
        logfile: str | None = None,
        redirect_stdouts: bool = False,
        redirect_level: int | str = "WARNING",
        colorize: bool | None = None,
        hostname: str | None = None,
    ) -> bool:
        """As `setup_logging_subsystem`; what is printed stays where it goes."""
        return self.setup_logging_subsystem(loglevel, logfile)

    def setup_logging_subsystem(
        self,
        loglevel: int | str | None = None,
        logfile: str | None = None,
        format: str | None = None,
        colorize: bool | None = None,
        hostname: str | None = None,
        **_: Any,
    ) -> bool:
        """Let the root logger write, unless it does so already or a receiver of `setup_logging` sees to it;
        says whether it was done here."""
        if Logging.already_setup:
            return False
        Logging.already_setup = True
        self.loglevel = mlevel(loglevel) or self.loglevel
        said = {"loglevel": self.loglevel, "logfile": logfile, "format": format, "colorize": colorize}
        if signals.setup_logging.receivers:
            signals.setup_logging.send(None, **said)
            return False
        logging.basicConfig(
            level=self.loglevel, filename=logfile, format=_without_process(format or self.format)
        )
        return True

    def setup_task_loggers(self, loglevel: int | str | None = None, *_: Any, **__: Any) -> logging.Logger:
        """The logger above those of tasks, with this level."""
        logger = get_logger("celery.task")
        if loglevel is not None:
            logger.setLevel(mlevel(loglevel) or logging.NOTSET)
        return logger

    def redirect_stdouts_to_logger(self, *_: Any, **__: Any) -> None:
        """Nothing: a worker does so by itself (`worker_redirect_stdouts`); a program keeps what it prints."""


def _without_process(form: str) -> str:
    """Celery's format names the process of a pool, which a program has none of."""
    return form.replace("%(processName)s", "%(name)s")
