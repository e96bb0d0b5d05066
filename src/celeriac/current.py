"""Which app and task are meant when nobody says: the current ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol
from weakref import WeakSet

from celeriac.clock import Clock
from celeriac.config import Settings
from celeriac.message import Message
from celeriac.middleware import Passage
from celeriac.ports import Broker, ResultStore
from celeriac.request import current
from celeriac.routing import Router
from celeriac.waiting import Waiting


class App(Protocol):
    """What tasks, signatures and results ask of their app."""

    main: str | None
    owner: str

    @property
    def conf(self) -> Settings: ...

    @property
    def tasks(self) -> MutableMapping[str, Any]: ...

    @property
    def broker(self) -> Broker: ...

    def purge(self, queues: Iterable[str]) -> int: ...

    @property
    def results(self) -> ResultStore | None: ...

    @property
    def backend(self) -> Any: ...

    def is_end(self, payload: bytes) -> bool: ...

    @property
    def waiting(self) -> Waiting: ...

    @property
    def router(self) -> Router: ...

    @property
    def passage(self) -> Passage | None: ...

    @property
    def sends_itself(self) -> bool: ...

    @property
    def awaits_base(self) -> bool: ...

    @property
    def strict_typing(self) -> bool: ...

    @property
    def time(self) -> Clock: ...

    @property
    def control(self) -> Any: ...

    @property
    def names_called(self) -> dict[str, Any]: ...

    def publish(self, messages: Sequence[Message]) -> None: ...

    def send(self, message: Message, name: str) -> None: ...

    def publish_all(self, batches: Iterable[Sequence[Message]]) -> None: ...

    def message_for(self, signature: Any, args: Sequence[Any] = (), **options: Any) -> Message: ...

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any: ...

    def finalize(self, auto: bool = False) -> None: ...


class _Thread(threading.local):
    app: Any = None


_thread = _Thread()
_default: Any = None
#: The app that was made current last, in any thread: web frameworks call tasks from threads of their own.
_latest: Any = None
#: Made when one was needed before there was any; the first true app takes its place.
_fallback: Any = None
#: How to make an app where there is none; set by the module that knows apps.
make_default: Callable[[], Any] | None = None


class Shared(NamedTuple):
    """A function that is a task of every app."""

    function: Callable[..., Any]
    #: Declares it in an app.
    register: Callable[[Any], object]
    #: Has the name in its module be what an app makes of it.
    follow: Callable[[Any], None] = lambda _app: None


#: Every app that is finalized goes through them.
shared: list[Shared] = []

#: All apps that live, for tasks that are shared by all of them.
apps: WeakSet[Any] = WeakSet()


def set_current_app(app: Any) -> None:
    """Make it the current app of this thread, and of threads that have none of their own."""
    global _latest
    _thread.app = _latest = app


def set_default_app(app: Any) -> None:
    """The app of every thread that has set none."""
    global _default
    _default = app


@contextmanager
def only(app: Any) -> Iterator[None]:
    """Inside, it is the current app of this thread and of those that have none; then all is as before."""
    global _default, _latest, _fallback
    before = (_thread.app, _default, _latest, _fallback)
    _thread.app = _default = _latest = _fallback = app
    try:
        yield
    finally:
        _thread.app, _default, _latest, _fallback = before


def forget_shared(kept: Sequence[Shared]) -> None:
    """Take the shared tasks that are not among these out of all apps, if a function of a test declares them.

    Those of modules stay: a module is imported once, and its tasks are wanted by the tests that follow.
    """
    for one in [one for one in shared if one not in kept and "<locals>" in one.function.__qualname__]:
        shared.remove(one)
        for app in [app for app in apps if app.finalized]:
            for name in [name for name, task in app.tasks.items() if _runs(task, one.function)]:
                del app.tasks[name]


def _runs(task: Any, function: Callable[..., Any]) -> bool:
    wrapped = getattr(task, "__wrapped__", None)
    return getattr(wrapped, "__func__", wrapped) is function


def forget_app(app: Any) -> None:
    """The app is closed: it is nobody's current one any more."""
    global _default, _latest, _fallback
    if _thread.app is app:
        _thread.app = None
    if _default is app:
        _default = None
    if _latest is app:
        _latest = None
    if _fallback is app:
        _fallback = None


def get_current_app() -> Any:
    """The current app; with none at all, one with the default settings is made."""
    global _fallback
    app = _thread.app or _default or _latest or _fallback
    if app is None:
        if make_default is None:
            raise RuntimeError("there is no app yet: create one with celeriac.Celery(...)")
        app = _fallback = make_default()
    return app


def app_so_far() -> Any:
    """The current app; None while there is none."""
    return _thread.app or _default or _latest


def get_current_task() -> Any:
    """The task that runs here; None outside of every task."""
    request = current()
    return None if request is None else get_current_app().tasks.get(request.task)


class Proxy:
    """Stands for what is current wherever an object is needed: `current_app.conf`, `current_task.request`.

    Many programs import these names before there is an app; hence an object that looks at each use.
    """

    __slots__ = ("_look",)

    def __init__(self, look: Callable[[], Any]) -> None:
        object.__setattr__(self, "_look", look)

    def _get_current_object(self) -> Any:
        return self._look()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._look(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._look(), name, value)

    def __eq__(self, other: object) -> bool:
        return bool(self._look() == (other._look() if isinstance(other, Proxy) else other))

    def __bool__(self) -> bool:
        return self._look() is not None

    def __hash__(self) -> int:
        return hash(self._look())

    def __repr__(self) -> str:
        return repr(self._look())


current_app: Any = Proxy(get_current_app)
current_task: Any = Proxy(get_current_task)
