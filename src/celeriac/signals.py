"""What happens in producers, workers and beat, told to whoever connects.

    @task_failure.connect
    def tell_the_team(sender, task_id, exception, **kwargs): ...

Where speed counts, ask `if signal.receivers:` before the arguments of `send` are even built.
"""

from __future__ import annotations

import inspect
import logging
import weakref
from collections.abc import Callable, Hashable, Iterable
from threading import Lock
from typing import Any, NamedTuple, TypeVar, overload

_log = logging.getLogger("celeriac.signals")

Receiver = Callable[..., Any]
R = TypeVar("R", bound=Receiver)


class Connection(NamedTuple):
    """One receiver's wish to hear a signal, of one sender or of all."""

    key: tuple[Hashable, Hashable]
    #: Gives the receiver, or None once it is gone.
    receiver: Callable[[], Receiver | None]
    #: Gives the sender to listen to; None in place of the callable: every sender.
    sender: Callable[[], Any] | None


class Signal:
    """Something that happens, and those who want to hear of it."""

    __slots__ = ("__weakref__", "_changing", "name", "providing_args", "receivers")

    def __init__(self, providing_args: Iterable[str] = (), name: str | None = None) -> None:
        self.name = name
        self.providing_args = frozenset(providing_args)
        #: Replaced by every change, never changed in place: sending needs no lock.
        self.receivers: list[Connection] = []
        self._changing = Lock()

    @overload
    def connect(
        self,
        receiver: R,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable = None,
        retry: bool = False,
    ) -> R: ...

    @overload
    def connect(
        self,
        receiver: None = None,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable = None,
        retry: bool = False,
    ) -> Callable[[R], R]: ...

    def connect(
        self,
        receiver: Any = None,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable = None,
        retry: bool = False,
    ) -> Any:
        """Call `receiver` for every send, or only for those of `sender`; also a decorator.

        A weakly held receiver (the default) is forgotten when nobody else holds it. `dispatch_uid` makes
        connecting twice harmless. `retry` is accepted and not needed: a sender is compared when one sends.
        """
        if receiver is None:
            return lambda function: self.connect(function, sender, weak, dispatch_uid, retry)
        _check(receiver)
        connection = Connection(
            (_identity(receiver) if dispatch_uid is None else dispatch_uid, _identity(sender)),
            _reference(receiver) if weak else lambda: receiver,
            None if sender is None else _reference(sender),
        )
        with self._changing:
            living = [known for known in self.receivers if _lives(known)]
            if all(known.key != connection.key for known in living):
                living.append(connection)
            self.receivers = living
        return receiver

    def disconnect(
        self,
        receiver: Receiver | None = None,
        sender: Any = None,
        weak: bool | None = None,
        dispatch_uid: Hashable = None,
    ) -> bool:
        """Undo `connect` with the same arguments; True if there was something to undo."""
        key = (_identity(receiver) if dispatch_uid is None else dispatch_uid, _identity(sender))
        with self._changing:
            kept = [known for known in self.receivers if known.key != key and _lives(known)]
            found = any(known.key == key for known in self.receivers)
            self.receivers = kept
        return found

    def has_listeners(self, sender: Any = None) -> bool:
        return any(_hears(known, sender) and known.receiver() is not None for known in self.receivers)

    def send(self, sender: Any, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call everyone who listens; returns what each gave back, or the exception it raised.

        An error of a receiver is logged and goes no further: whoever listens must not break what it hears of.
        """
        answers: list[tuple[Receiver, Any]] = []
        if not self.receivers:
            return answers
        for connection in self.receivers:
            receiver = connection.receiver()
            if receiver is None:
                self._forget_the_dead()
            elif _hears(connection, sender):
                answers.append((receiver, self._call(receiver, sender, named)))
        return answers

    send_robust = send

    def _call(self, receiver: Receiver, sender: Any, named: dict[str, Any]) -> Any:
        try:
            return receiver(signal=self, sender=sender, **named)
        except Exception as error:
            name = getattr(receiver, "__qualname__", type(receiver).__qualname__)
            _log.exception("receiver %s of signal %s raised %s", name, self.name, type(error).__name__)
            return error

    def _forget_the_dead(self) -> None:
        with self._changing:
            self.receivers = [known for known in self.receivers if _lives(known)]

    def __repr__(self) -> str:
        return f"<Signal: {self.name} providing_args={sorted(self.providing_args)}>"


def _lives(connection: Connection) -> bool:
    if connection.sender is not None and connection.sender() is None:
        return False
    return connection.receiver() is not None


def _hears(connection: Connection, sender: Any) -> bool:
    if connection.sender is None:
        return True
    wanted = connection.sender()
    # Equality also lets a name match a name and a lazy proxy its task.
    return wanted is not None and (wanted is sender or bool(wanted == sender))


def _identity(thing: Any) -> Hashable:
    if isinstance(thing, str):
        return thing
    if inspect.ismethod(thing):
        # Every access makes a new method object; what stays is the instance and the function.
        return (id(thing.__self__), id(thing.__func__))
    return id(thing)


def _reference(thing: Any) -> Callable[[], Any]:
    """Hold it weakly if that is possible (not for texts and slotted objects)."""
    try:
        return weakref.WeakMethod(thing) if inspect.ismethod(thing) else weakref.ref(thing)
    except TypeError:
        return lambda: thing


def _check(receiver: Any) -> None:
    if not callable(receiver):
        raise TypeError(f"a signal's receiver must be callable, not {type(receiver).__name__}")
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (TypeError, ValueError):
        return  # written in C: nothing to read
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
        raise ValueError(
            f"receiver {getattr(receiver, '__qualname__', receiver)!s} must accept keyword arguments "
            "(**kwargs): a signal may gain arguments later"
        )


# --- sending a task (in the process that sends; sender: the task's name) -----------------------------------

before_task_publish = Signal(
    ("body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"),
    name="before_task_publish",
)
after_task_publish = Signal(("body", "exchange", "routing_key", "headers"), name="after_task_publish")
#: Deprecated; use after_task_publish.
task_sent = Signal(("task_id", "task", "args", "kwargs", "eta", "taskset"), name="task_sent")

# --- a task in the worker (sender: the task; for task_received, task_rejected, task_unknown the consumer) --

task_received = Signal(("request",), name="task_received")
task_prerun = Signal(("task_id", "task", "args", "kwargs"), name="task_prerun")
task_postrun = Signal(("task_id", "task", "args", "kwargs", "retval", "state"), name="task_postrun")
task_success = Signal(("result", "runtime"), name="task_success")
task_retry = Signal(("request", "reason", "einfo"), name="task_retry")
task_failure = Signal(("task_id", "exception", "args", "kwargs", "traceback", "einfo"), name="task_failure")
task_internal_error = Signal(
    ("task_id", "args", "kwargs", "request", "exception", "traceback", "einfo"), name="task_internal_error"
)
task_revoked = Signal(("request", "terminated", "signum", "expired"), name="task_revoked")
task_rejected = Signal(("message", "exc"), name="task_rejected")
task_unknown = Signal(("message", "exc", "name", "id"), name="task_unknown")

# --- the worker's life ------------------------------------------------------------------------------------

celeryd_init = Signal(("instance", "conf", "options"), name="celeryd_init")
celeryd_after_setup = Signal(("instance", "conf"), name="celeryd_after_setup")
import_modules = Signal(name="import_modules")
worker_init = Signal(name="worker_init")
worker_before_create_process = Signal(name="worker_before_create_process")
worker_process_init = Signal(name="worker_process_init")
worker_process_shutdown = Signal(("pid", "exitcode"), name="worker_process_shutdown")
worker_ready = Signal(name="worker_ready")
worker_shutdown = Signal(name="worker_shutdown")
worker_shutting_down = Signal(("sig", "how", "exitcode"), name="worker_shutting_down")
heartbeat_sent = Signal(name="heartbeat_sent")

# --- logging ----------------------------------------------------------------------------------------------

#: A receiver here takes logging over: celeriac sets up none of its own.
setup_logging = Signal(("loglevel", "logfile", "format", "colorize"), name="setup_logging")
after_setup_logger = Signal(
    ("logger", "loglevel", "logfile", "format", "colorize"), name="after_setup_logger"
)
after_setup_task_logger = Signal(
    ("logger", "loglevel", "logfile", "format", "colorize"), name="after_setup_task_logger"
)

# --- beat, eventlet, programs -----------------------------------------------------------------------------

beat_init = Signal(name="beat_init")
beat_embedded_init = Signal(name="beat_embedded_init")
eventlet_pool_started = Signal(name="eventlet_pool_started")
eventlet_pool_preshutdown = Signal(name="eventlet_pool_preshutdown")
eventlet_pool_postshutdown = Signal(name="eventlet_pool_postshutdown")
eventlet_pool_apply = Signal(("target", "args", "kwargs"), name="eventlet_pool_apply")
user_preload_options = Signal(("app", "options"), name="user_preload_options")
