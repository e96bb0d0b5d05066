"""The errors that come out of tasks: whose they are, and what of them is the user's."""

from __future__ import annotations

import signal
from functools import cache
from types import TracebackType
from typing import Any

from celeriac.einfo import ExceptionInfo, traceback_of
from celeriac.exceptions import EncodeError, WorkerShutdown, WorkerTerminate
from celeriac.wire.saferepr import safe_repr

#: The modules of `autoretry_for` and `retry`.
_RETRIES = ("celeriac.retrying", "celeriac.task")


def explained(error: BaseException, internal: bool = False) -> ExceptionInfo:
    """The error with its traceback, from the first line on that is the user's."""
    # Set the way that no class can turn into something else.
    BaseException.with_traceback(error, _behind_retries(users_part(traceback_of(error))))
    return ExceptionInfo(error, internal)


def users_part(tb: TracebackType | None) -> TracebackType | None:
    """A traceback from the first line on that is the user's; None if none is."""
    while tb is not None and tb.tb_frame.f_globals.get("__name__", "").startswith("celeriac.worker."):
        tb = tb.tb_next
    return tb


def _behind_retries(tb: TracebackType | None) -> TracebackType | None:
    """Where autoretry raises the task's own error once more, its lines stand before the user's."""
    found = tb
    while found is not None and found.tb_frame.f_globals.get("__name__") in _RETRIES:
        found = found.tb_next
    return found or tb


def concerns_the_worker(error: BaseException) -> bool:
    """Not the task's end but the worker's: it goes on to whoever called."""
    if isinstance(error, Exception):
        return False
    if isinstance(error, WorkerShutdown | WorkerTerminate):
        return True
    if isinstance(error, GeneratorExit):
        # It ends us if we are closed; a task that raises it has just failed.
        return users_part(error.__traceback__) is None
    if isinstance(error, KeyboardInterrupt):
        # In a worker's process SIGINT has a handler of ours, so only the task can have raised this.
        return signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if isinstance(error, SystemExit):
        return False  # a task that leaves by sys.exit() has failed, the worker goes on
    return _is_cancelled_here(error)


def _is_cancelled_here(error: BaseException) -> bool:
    """The coroutine that runs us was cancelled; not just one that the task had started itself."""
    import asyncio

    if not isinstance(error, asyncio.CancelledError):
        return False
    try:
        ours = asyncio.current_task()
    except RuntimeError:
        return False
    return ours is not None and ours.cancelling() > 0


def as_encode_error(error: Exception) -> Exception:
    """What was raised when a value was to be written down."""
    if isinstance(error, EncodeError):
        return error
    wrapped = EncodeError(safe_repr(error))
    wrapped.__cause__ = error
    return wrapped.with_traceback(error.__traceback__)


def text_of(error: BaseException) -> str:
    """What it says, whatever it does when it is asked."""
    try:
        return str(error)
    except Exception:
        return "(its text cannot be shown)"


def meaning(error: BaseException, interruption: BaseException) -> BaseException:
    """Why a coroutine was cancelled that we cancelled; any other error means itself."""
    import asyncio

    if not isinstance(error, asyncio.CancelledError):
        return error
    cancelled = asyncio.current_task()
    if cancelled is not None:
        cancelled.uncancel()
    kind: Any = type(interruption)
    meant: BaseException = _cancelling(kind)(*interruption.args)
    return meant.with_traceback(error.__traceback__)


@cache
def _cancelling(kind: Any) -> Any:
    """That kind of error, which is a cancelling too: only then does a TaskGroup end its members, and a lock
    wake the next one."""
    import asyncio

    named = {"__module__": kind.__module__, "__reduce__": lambda self: (kind, self.args)}
    return type(kind.__name__, (kind, asyncio.CancelledError), named)
