"""How the processes of a worker log: where to, in which form, under which name."""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import os
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from celeriac import signals
from celeriac.config import Settings
from celeriac.exceptions import ImproperlyConfigured
from celeriac.log import NO_TASK, TASK_LOGGER_NAME, TaskFormatter, get_task_logger, running_task
from celeriac.wire.saferepr import safe_repr
from celeriac.worker import printed

__all__ = ["WorkerLogging", "expand", "get_task_logger", "level_number", "name_process"]

#: The parent of every logger of the library. Operators filter by these names, so they are Celery's.
LOGGER_NAME = "celery"
#: Tells of each message that comes.
ARRIVALS_LOGGER_NAME = "celery.worker.strategy"
#: What tasks print.
REDIRECTED_LOGGER_NAME = "celery.redirected"

_COLORS = {
    logging.DEBUG: "\x1b[34m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[35m",
}
_NO_COLOR = "\x1b[0m"


class WorkerLogging:
    """Logging of one worker process and of the children forked from it; `stop` puts all back as it was."""

    def __init__(
        self,
        conf: Settings,
        nodename: str,
        *,
        loglevel: str | int = "WARNING",
        logfile: str | None = None,
        log_format: Literal["text", "json"] = "text",
        no_color: bool = False,
    ) -> None:
        self._conf = conf
        self._nodename = nodename
        self._level = level_number(loglevel)
        self._logfile = logfile
        self._as_json = log_format == "json" or bool(conf.worker_log_json)
        self._stream = _standard_error()
        self._colored = not self._as_json and self._wants_color(no_color)
        self._undo: ExitStack | None = None
        self._ours: list[tuple[logging.Logger, logging.Handler]] = []

    def start(self) -> None:
        """Set up the log of the main process."""
        if self._undo is not None:
            return
        self._undo = ExitStack()
        if self._taken_over_by_user():
            return
        if self._conf.worker_hijack_root_logger:
            self._set_up_root()
        else:
            self._set_up_without_root()
        if self._conf.worker_redirect_stdouts:
            level = level_number(self._conf.worker_redirect_stdouts_level)
            logger = logging.getLogger(REDIRECTED_LOGGER_NAME)
            self._undo.enter_context(printed.redirected(logger, level))

    def enter_child(self, name: str, index: int) -> None:
        """In a fresh child: its lines carry its name, and %i in the log file's name is its number."""
        name_process(name)
        # Operators know this line as one of the main process, which takes the messages in Celery.
        logging.getLogger(ARRIVALS_LOGGER_NAME).addFilter(_as_main_process)
        printed.unfinished.clear()
        path = self._path(index)
        if path is None or path == self._path(0):
            return
        for position, (logger, handler) in enumerate(self._ours):
            own = self._open_file(path, delay=True)  # a folder that is away costs lines, not the child
            own.setFormatter(handler.formatter)
            _replace(logger, handler, own)
            self._ours[position] = (logger, own)
            handler.close()

    def stop(self) -> None:
        undo, self._undo = self._undo, None
        if undo is not None:
            undo.close()
        for logger, handler in self._ours:
            logger.removeHandler(handler)
            handler.close()
        self._ours.clear()

    def _taken_over_by_user(self) -> bool:
        if not signals.setup_logging.receivers:
            return False
        heard = signals.setup_logging.send(
            None,
            loglevel=self._level,
            logfile=self._logfile,
            format=self._conf.worker_log_format,
            colorize=self._colored,
        )
        return bool(heard)

    def _set_up_root(self) -> None:
        root = logging.getLogger()
        self._keep(root)
        for handler in list(root.handlers):
            root.removeHandler(handler)
        self._take(root, self._line_format(), signals.after_setup_logger)
        self._set_up_task_logger()

    def _set_up_without_root(self) -> None:
        """The root logger is the user's: if it has handlers our lines go there, else to our own."""
        library = logging.getLogger(LOGGER_NAME)
        self._keep(library)
        if logging.getLogger().handlers:
            library.setLevel(self._level)
            self._tell(signals.after_setup_logger, library, self._conf.worker_log_format)
            return
        library.propagate = False
        self._take(library, self._line_format(), signals.after_setup_logger)
        self._set_up_task_logger()

    def _set_up_task_logger(self) -> None:
        logger = logging.getLogger(TASK_LOGGER_NAME)
        self._keep(logger)
        # Its lines have a form of their own; above they would be shown a second time.
        logger.propagate = False
        self._take(logger, self._task_line_format(), signals.after_setup_task_logger)

    def _take(self, logger: logging.Logger, formatter: logging.Formatter, after: signals.Signal) -> None:
        handler = self._open_handler()
        handler.setFormatter(formatter)
        logger.addHandler(handler)
        logger.setLevel(self._level)
        self._ours.append((logger, handler))
        self._tell(after, logger, getattr(formatter, "_fmt", None))

    def _tell(self, after: signals.Signal, logger: logging.Logger, line_format: str | None) -> None:
        if after.receivers:
            after.send(
                None,
                logger=logger,
                loglevel=self._level,
                logfile=self._logfile,
                format=line_format,
                colorize=self._colored,
            )

    def _keep(self, logger: logging.Logger) -> None:
        """Remember how it was, for `stop`."""
        handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate

        def put_back() -> None:
            logger.handlers[:] = handlers
            logger.setLevel(level)
            logger.propagate = propagate

        assert self._undo is not None
        self._undo.callback(put_back)

    def _open_handler(self) -> logging.Handler:
        path = self._path(0)
        if path is None:
            return logging.StreamHandler(self._stream)
        return self._open_file(path)

    def _open_file(self, path: str, *, delay: bool = False) -> logging.Handler:
        # Only here: most workers log to standard error.
        from celeriac.worker.logfile import LogFile

        try:
            return LogFile(path, self._stream, delay=delay)
        except OSError as error:
            raise ImproperlyConfigured(f"the log file {path} cannot be written: {error.strerror}") from error

    def _path(self, index: int) -> str | None:
        return None if self._logfile is None else expand(self._logfile, self._nodename, index)

    def _line_format(self) -> logging.Formatter:
        return self._formatter(self._conf.worker_log_format, self._conf.worker_log_datefmt)

    def _task_line_format(self) -> logging.Formatter:
        return self._formatter(self._conf.worker_task_log_format, self._conf.worker_task_log_datefmt)

    def _formatter(self, line_format: str, date_format: str | None) -> logging.Formatter:
        if self._as_json:
            return JsonFormatter()
        return (ColoredFormatter if self._colored else TaskFormatter)(line_format, date_format)

    def _wants_color(self, no_color: bool) -> bool:
        if no_color or self._logfile is not None or not self._stream.isatty():
            return False
        wanted = self._conf.worker_log_color
        return "NO_COLOR" not in os.environ if wanted is None else bool(wanted)


class ColoredFormatter(TaskFormatter):
    """For terminals: the message in the colour of its level."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        color = _COLORS.get(record.levelno)
        if color is None:
            return super().formatMessage(record)
        plain = record.message
        record.message = f"{color}{plain}{_NO_COLOR}"
        try:
            return super().formatMessage(record)
        finally:
            record.message = plain


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for collectors of logs: what a line has not is left out."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.processName,
            "message": record.getMessage(),
        }
        data = getattr(record, "data", None)
        line.update(_task_of(data))
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        elif isinstance(data, dict) and data.get("traceback"):
            line["exception"] = data["traceback"]
        if data is not None:
            line["data"] = data
        return _encode(line)


def name_process(name: str) -> None:
    """Give this process its name in the log: MainProcess, ForkPoolWorker-1."""
    multiprocessing.current_process().name = name


def level_number(level: str | int) -> int:
    """The number of a level's name, in any case."""
    if isinstance(level, int):
        return level
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ImproperlyConfigured(
            f"no log level {level!r}; known are DEBUG, INFO, WARNING, ERROR, CRITICAL and FATAL"
        )
    return number


def expand(path: str, nodename: str, index: int) -> str:
    """Fill in %n node's name, %h host, %d domain, %p all of it, %i child's number, %I the same with dash."""
    name, _, host = nodename.rpartition("@")
    values = {
        "%": "%",
        "n": name or "celery",
        "h": host,
        "d": host.partition(".")[2],
        "p": nodename,
        "i": str(index),
        "I": f"-{index}" if index else "",
    }
    parts = iter(path)
    return "".join(_expanded(part, next(parts, ""), values) if part == "%" else part for part in parts)


def _expanded(percent: str, key: str, values: dict[str, str]) -> str:
    return values.get(key, percent + key)


def _standard_error() -> TextIO:
    # Never the stream that leads into the log itself.
    stream = sys.__stderr__ if isinstance(sys.stderr, printed.Printed) else sys.stderr
    # A process without a terminal or a console (a service) may have none.
    return stream if stream is not None else io.StringIO()


def _as_main_process(record: logging.LogRecord) -> bool:
    record.processName = "MainProcess"
    return True


def _replace(logger: logging.Logger, old: logging.Handler, new: logging.Handler) -> None:
    # In place: a handler that after_setup_logger added keeps its turn.
    logger.handlers[:] = [new if handler is old else handler for handler in logger.handlers]


def _task_of(data: Any) -> dict[str, str]:
    """Of which task a line speaks: of the one that it names, or else of the one that runs."""
    if isinstance(data, dict) and "id" in data and "name" in data:
        return {"task_id": data["id"], "task_name": data["name"]}
    name, task_id = running_task()
    return {} if task_id == NO_TASK else {"task_id": task_id, "task_name": name}


def _encode(line: dict[str, Any]) -> str:
    try:
        return json.dumps(line, default=safe_repr)
    except (TypeError, ValueError, RecursionError):
        # Keys that are no texts, or a circle: the line is worth more than its form.
        return json.dumps({**line, "data": safe_repr(line.get("data"))}, default=safe_repr)
