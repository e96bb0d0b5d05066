"""Every way in which a task, a message or a worker can end badly, each as a class of its own.

All of them survive pickling with what they carry: they cross from children to callers.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, NoReturn, TextIO

# --- warnings ---------------------------------------------------------------------------------------------


class CeleriacWarning(UserWarning):
    """Something works, but hardly as you meant it."""


CeleryWarning = CeleriacWarning


class AlwaysEagerIgnored(CeleriacWarning):
    """send_task() sends although task_always_eager is set: it knows no function that it could call."""


class DuplicateNodenameWarning(CeleriacWarning):
    """Two workers answer to one node name."""


class DuplicateTaskNameWarning(CeleriacWarning):
    """Two functions were declared as tasks of one name; the first one stays."""


class FixupWarning(CeleriacWarning):
    """The integration of another framework could not be set up."""


class NotConfigured(CeleriacWarning):
    """No configuration was found, so the defaults hold."""


class SecurityWarning(CeleriacWarning):
    """A setting or a way of starting opens a door."""


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """This name will be deprecated."""


class CDeprecationWarning(DeprecationWarning):
    """This name is deprecated."""


# --- the library itself -----------------------------------------------------------------------------------


class CeleriacError(Exception):
    """The root of the errors of this library."""


CeleryError = CeleriacError


class ImproperlyConfigured(CeleriacError):
    """A setting is misspelt, of a wrong type, or missing."""


class SecurityError(CeleriacError):
    """A message is not signed as it must be."""


class OperationalError(CeleriacError):
    """The store does not answer; says its address and the cause."""


class EncodeError(CeleriacError):
    """What was given cannot be put into bytes with this serializer."""


class DecodeError(CeleriacError):
    """These bytes are not what they claim to be."""


class ContentDisallowed(CeleriacError):
    """The content type is not in accept_content, so it was not decoded."""


class Fenced(CeleriacError):
    """The claims of `owner` were taken over: what it still says about them is refused."""

    def __init__(self, owner: str = "") -> None:
        super().__init__(owner)
        self.owner = owner

    def __str__(self) -> str:
        return f"owner {self.owner!r} is not known any more: its claims were taken over"


# --- what a task says about itself by raising -------------------------------------------------------------


class TaskPredicate(CeleriacError):
    """A word from the task to the worker; no failure."""


class Ignore(TaskPredicate):
    """Raise it to leave the task without any state: the worker acknowledges and writes nothing."""


class Replaced(Ignore):
    """What `task.replace()` raises in a task that was not sent, with the value of the call in its place."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


class Reject(TaskPredicate):
    """Raise it to refuse the message: given back with `requeue`, a dead letter without."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        super().__init__(reason, requeue)
        self.reason = reason
        self.requeue = requeue

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"

    __str__ = __repr__


class Retry(TaskPredicate):
    """The task runs again later; `task.retry()` raises it."""

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: float | datetime | None = None,
        is_eager: bool = False,
        sig: Any = None,
        **_named: object,
    ) -> None:
        super().__init__(message, exc, when)
        self.message = message
        #: What went wrong, as an exception or already as its text.
        self.exc = None if isinstance(exc, str) else exc
        self.excs = exc if isinstance(exc, str) or exc is None else _safe_repr(exc)
        #: Seconds from now, or the moment.
        self.when = when
        self.is_eager = is_eager
        #: The signature that runs next.
        self.sig = sig

    def humanize(self) -> str:
        """`in 5s`, or `at` a moment."""
        if isinstance(self.when, int | float):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.excs:
            return f"Retry {self.humanize()}: {self.excs}"
        return f"Retry {self.humanize()}"

    def __repr__(self) -> str:
        return f"Retry({self.message!r}, {self.excs}, {self.when!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (
            self.__class__,
            (self.message, self.exc or self.excs, self.when, self.is_eager, self.sig),
        )


RetryTaskError = Retry


# --- tasks ------------------------------------------------------------------------------------------------


class TaskError(CeleriacError):
    """A task could not be found, called, or brought to its end."""


class QueueNotFound(KeyError, TaskError):
    """A queue that task_queues does not name, while task_create_missing_queues is off."""

    def __str__(self) -> str:
        # KeyError would show the repr of its text.
        return str(self.args[0]) if self.args else ""


class IncompleteStream(TaskError):
    """The end of the data has not been seen."""


class NotRegistered(KeyError, TaskError):
    """No task of this name is known here."""

    def __repr__(self) -> str:
        return f"Task of kind {self} never registered, please make sure it's imported."


class AlreadyRegistered(TaskError):
    """There is a task of this name already."""


class TimeoutError(TaskError, builtins.TimeoutError):
    """The result did not come in time; the task may still run. Also caught as Python's own TimeoutError."""


class MaxRetriesExceededError(TaskError):
    """The task was tried as often as it may."""

    def __init__(self, *args: object, task_args: Any = (), task_kwargs: Any = None) -> None:
        super().__init__(*args)
        self.task_args = task_args
        self.task_kwargs = {} if task_kwargs is None else task_kwargs


class NotFound(TaskError, LookupError):
    """Nothing will come of this id: there is no result, and no message out of which one could come."""


class TaskRevokedError(TaskError):
    """The task was revoked, so there is no result."""


class InvalidTaskError(TaskError):
    """The message is no task message, or lacks a part."""


class ChordError(TaskError):
    """A task of the chord's header failed, so its body never runs."""


# --- the limits of running --------------------------------------------------------------------------------
# As in Celery these are no CeleriacErrors: a task that catches that root shall not swallow its limit.


class SoftTimeLimitExceeded(Exception):
    """Raised inside the task: time is up, clean up now."""

    def __str__(self) -> str:
        return f"{type(self).__name__}{self.args!r}"


class TimeLimitExceeded(Exception):
    """The task ran over its hard limit, and its process was stopped."""

    def __str__(self) -> str:
        return f"{type(self).__name__}{self.args!r}"


class WorkerLostError(Exception):
    """The process that ran the task died."""


class Terminated(Exception):
    """The task was revoked with terminate=True while it ran."""


# --- results ----------------------------------------------------------------------------------------------


class BackendError(Exception):
    """The result store failed."""


class BackendGetMetaError(BackendError):
    """The state of a task could not be read."""

    def __init__(self, *args: object, task_id: str = "", **_named: object) -> None:
        super().__init__(*args)
        self.task_id = task_id

    def __repr__(self) -> str:
        return f"{super().__repr__()} task_id:{self.task_id}"


class BackendStoreError(BackendError):
    """The state of a task could not be written."""

    def __init__(self, *args: object, state: str = "", task_id: str = "", **_named: object) -> None:
        super().__init__(*args)
        self.state = state
        self.task_id = task_id

    def __repr__(self) -> str:
        return f"{super().__repr__()} state:{self.state} task_id:{self.task_id}"


# --- programs ---------------------------------------------------------------------------------------------


class WorkerShutdown(SystemExit):
    """Ends the worker warmly: what runs is finished."""


class WorkerTerminate(SystemExit):
    """Ends the worker at once."""


SystemTerminate = WorkerTerminate


class CeleryCommandException(Exception):
    """A command cannot go on: the command line shows `message` and leaves with `exit_code`."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message, exit_code)
        self.message = message
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message

    def format_message(self) -> str:
        return self.message

    def show(self, file: TextIO | None = None) -> None:
        print(f"Error: {self.message}", file=file or sys.stderr)


def reraise(
    tp: type[BaseException], value: BaseException | None, tb: TracebackType | None = None
) -> NoReturn:
    """Raise `value` (or a new `tp`) with this traceback."""
    raise (value if value is not None else tp()).with_traceback(tb)


def _safe_repr(error: BaseException) -> str:
    """Its repr; an exception whose repr raises is no reason to lose the retry."""
    try:
        return repr(error)
    except Exception:
        return f"<{type(error).__name__} whose repr() raises>"


#: What `from celeriac.exceptions import *` gives, under the names that users of Celery know.
__all__: Sequence[str] = (
    "AlreadyRegistered",
    "AlwaysEagerIgnored",
    "BackendError",
    "BackendGetMetaError",
    "BackendStoreError",
    "CDeprecationWarning",
    "CPendingDeprecationWarning",
    "CeleriacError",
    "CeleriacWarning",
    "CeleryCommandException",
    "CeleryError",
    "CeleryWarning",
    "ChordError",
    "ContentDisallowed",
    "DecodeError",
    "DuplicateNodenameWarning",
    "DuplicateTaskNameWarning",
    "EncodeError",
    "Fenced",
    "FixupWarning",
    "Ignore",
    "ImproperlyConfigured",
    "IncompleteStream",
    "InvalidTaskError",
    "MaxRetriesExceededError",
    "NotConfigured",
    "NotFound",
    "NotRegistered",
    "OperationalError",
    "QueueNotFound",
    "Reject",
    "Retry",
    "RetryTaskError",
    "SecurityError",
    "SecurityWarning",
    "SoftTimeLimitExceeded",
    "SystemTerminate",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "Terminated",
    "TimeLimitExceeded",
    "TimeoutError",
    "WorkerLostError",
    "WorkerShutdown",
    "WorkerTerminate",
    "reraise",
)
