"""The app: holds the settings and the tasks, and sends messages to the broker."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import cached_property, partial
from importlib import import_module
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, cast, overload

from celeriac import builtin, canvas, clock, current, logical, signals
from celeriac import request as requests
from celeriac.canvas import Signature
from celeriac.clock import Clock, zone_named
from celeriac.config import Settings, coerce, read_source
from celeriac.connections import Connections, Ground
from celeriac.control import Control
from celeriac.copies import Notes, made_again, parts_of, place_of, unpickled
from celeriac.declaring import become, task_class
from celeriac.exceptions import AlwaysEagerIgnored, DuplicateTaskNameWarning
from celeriac.importing import IMPORTED, discovered, import_object, import_task_module
from celeriac.message import Binding, Message
from celeriac.middleware import Entry, Passage
from celeriac.planning import OWN_WORDS, Schedules
from celeriac.ports import Broker, Bus, ResultStore, ScheduleStore
from celeriac.purging import purge
from celeriac.registry import AnyTask, TaskRegistry, annotate
from celeriac.result import AsyncResult
from celeriac.resultset import GroupResult, ResultSet
from celeriac.routing import Router
from celeriac.sending import Constants, compose, must_fit, send_through, tell_after, told_before
from celeriac.shared import BoundTaskDecorator, TaskDecorator
from celeriac.signals import Signal
from celeriac.spreading import spread
from celeriac.stepping import Stepper
from celeriac.task import AsyncTask, Task
from celeriac.waiting import Waiting
from celeriac.wire.ids import new_id
from celeriac.wire.result import is_end

P = ParamSpec("P")
R = TypeVar("R")

# What few programs use is imported by its name and at its first use: part of it stands above the app, as a
# worker does, and who does not use it never loads it.
#: What serves `Celery.start`.
_PROGRAM = "celeriac.cli.program"
#: What serves `Celery.testing`.
_TESTING = "celeriac.testing.stepper"
#: What serves `Celery.events`.
_EVENTS = "celeriac.events.access"
#: What serves the setting task_send_sent_event.
_SENT = "celeriac.events.sent"
#: What serves `Celery.connection`, `Celery.Worker` and `Celery.Beat`.
_CONNECTION = "celeriac.compat.connection"
_PROGRAMS = "celeriac.compat.programs"
#: What serves `Celery.backend` and `Celery.amqp`.
_BACKENDS = "celeriac.compat.backends"
_AMQP = "celeriac.compat.amqp"
#: What serves an app beside the code of a site that Django runs.
_DJANGO = "celeriac.compat.django"
#: The class of the tasks there.
_DJANGO_TASK = "celeriac.compat.django:DjangoTask"
#: What serves `Celery.log`.
_LOG = "celeriac.compat.logs"
#: What serves `Celery.steps`.
_STEPS = "celeriac.compat.bootsteps"
#: What serves `Celery.loader`.
_LOADER = "celeriac.compat.loader"
#: What serves `Celery.schedules`.
_SCHEDULES = "celeriac.schedules.keeping"

_log = logging.getLogger("celeriac.app")


class Celery:
    """An application.

        app = Celery("proj", broker="redis://localhost:6379/0", backend="redis://localhost:6379/0")

        @app.task
        def add(x: int, y: int) -> int:
            return x + y

    Every setting may be given by name. Without a broker everything lies in `celeriac.db` in the working
    directory; with a broker and no backend no results are kept. `loader`, `amqp`, `events`, `log`, `control`
    name classes that take the place of Celery's own parts; the parts here are not replaced, so they have no
    effect. With `fixups=[]` it stays away from Django also where DJANGO_SETTINGS_MODULE is set.
    """

    #: The class of tasks that name no other `base`, or its name.
    task_cls: type[AnyTask] | str | None = None

    def __init__(
        self,
        main: str | None = None,
        loader: object = None,
        backend: str | None = None,
        amqp: object = None,
        events: object = None,
        log: object = None,
        control: object = None,
        set_as_current: bool = True,
        tasks: Mapping[str, AnyTask] | None = None,
        broker: str | Sequence[str] | None = None,
        include: str | Sequence[str] | None = None,
        changes: Mapping[str, Any] | None = None,
        config_source: Any = None,
        fixups: object = None,
        task_cls: type[AnyTask] | str | None = None,
        autofinalize: bool = True,
        namespace: str | None = None,
        strict_typing: bool = True,
        config_source_silent: bool = False,
        **settings: Any,
    ) -> None:
        self.main = main
        self.autofinalize = autofinalize
        self.namespace = namespace
        self.strict_typing = strict_typing
        self.finalized = False
        self.on_configure = Signal(name="on_configure")
        self.on_after_configure = Signal(("source",), name="on_after_configure")
        self.on_after_finalize = Signal(name="on_after_finalize")
        self.on_after_fork = Signal(name="on_after_fork")
        self.task_cls = task_cls or self.task_cls
        self._lock = threading.RLock()
        self._tasks = TaskRegistry()
        #: What stands in `Task`, once it is asked for or said.
        self._task_class: type[AnyTask] | None = None
        #: Tasks were declared, and their base could not be imported yet.
        self.awaits_base = False
        #: Tasks that named no base, each with how its class is made of one: until the app is finalized they
        #: may get another.
        self._of_no_base: list[tuple[AnyTask, Callable[..., type[AnyTask]]]] = []
        #: What was said of it beside settings and tasks.
        self.notes = Notes()
        #: Epoch seconds: what a countdown is counted from. A test stops it.
        self.time: Clock = clock.now
        #: What is known of tasks that were called by their names alone.
        self.names_called: dict[str, Constants] = {}
        #: In whose name the tasks of this process tell how far they are: the owner who holds them, where the
        #: results lie in the store of the messages. Empty elsewhere.
        self.owner = ""
        #: The queues that a worker of this app serves, in it and before; None: all that are declared.
        self.serving: list[str] | None = None
        given = {**(changes or {}), **settings}
        if broker is not None:
            given["broker_url"] = broker
        if backend is not None:
            given["result_backend"] = backend
        if include is not None:
            given["include"] = include
        #: Options that commands take besides: `user_options["worker"].add(click.Option(...))`.
        self.user_options: defaultdict[str, set[Any]] = defaultdict(set)
        #: What calls pass when they are sent and when they run; None while there is no middleware, and nobody
        #: overrides how calls are sent.
        self.passage: Passage | None = None
        #: A subclass overrides `send_task`, so each call wants to go there.
        self.sends_itself = type(self).send_task is not Celery.send_task
        self._is_overridden = self.sends_itself
        self._middleware_said: tuple[tuple[Entry, ...], bool] = ((), False)
        #: The settings: `app.conf.task_default_queue = "mail"`, `app.conf.update(...)`.
        self.conf = Settings(given, told=self._settings_changed)
        self._settings_changed()
        #: To the stores: opened at their first use, once for each process.
        self.connections = Connections(self.conf, self._forked, self)
        self.router = Router(self.conf, self._bindings)
        #: The web framework around it, which knows where tasks may be and wants to be ready before they come.
        self.site: Any = None
        if os.environ.get("DJANGO_SETTINGS_MODULE") and (fixups is None or fixups):
            self.site = import_module(_DJANGO).fixup(self)
            if self.site is not None:
                self.task_cls = self.task_cls or _DJANGO_TASK
        if config_source is not None:
            self.config_from_object(config_source, silent=config_source_silent, namespace=namespace)
        for task in (tasks or {}).values():
            self.register_task(task)
        current.apps.add(self)
        if set_as_current:
            self.set_current()
            self._lead_shared()
        self.on_init()

    def on_init(self) -> None:
        """For subclasses: called when the app is made."""

    # --- declaring tasks ----------------------------------------------------------------------------------

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, *, bind: Literal[True], **options: Any) -> BoundTaskDecorator: ...
    @overload
    def task(self, *, bind: Literal[False] = False, **options: Any) -> TaskDecorator: ...

    def task(self, *function: Any, **options: Any) -> Any:
        """Declare a task, bare or with options: every attribute of Task, and name, base, bind, shared.

        @app.task(bind=True, auto_retry=[ConnectionError], max_retries=5)
        def fetch(self, url: str) -> str: ...
        """
        if not function:
            return lambda function: self.task(function, **options)
        if len(function) > 1 or not callable(function[0]):
            raise TypeError(
                f"app.task() takes one function, and options by name, not {function[0]!r}: "
                "a name of its own is given as @app.task(name='...')"
            )
        return self._declare(function[0], **options)

    def _declare(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        base: type[AnyTask] | None = None,
        bind: bool = False,
        shared: bool = True,
        lazy: bool = True,
        **options: Any,
    ) -> AnyTask:
        if isinstance(function, Task):
            raise TypeError(f"{function.name} is a task already: one of the two decorators is enough")
        name = name or self.gen_task_name(function.__name__, function.__module__)
        known = self._tasks.get(name)
        if known is not None:
            if not _same_function(known, function):
                warnings.warn(
                    f"two functions are declared as task {name!r}; the first, of module "
                    f"{type(known).__module__}, stays: give one of them another name=",
                    DuplicateTaskNameWarning,
                    stacklevel=3,
                )
            return known
        if not shared:
            self.notes.unshared.add(name)
        remade = partial(task_class, function, name, bind=bind, options=options)
        task = remade(base=base or self._base_to_begin_with())()
        if base is None and not self.finalized:
            self._of_no_base.append((task, remade))
        return self._adopt(task)

    def register_task(self, task: Any, **options: Any) -> AnyTask:
        """Declare a class based task, given as instance or class; replaces one of the same name."""
        task = task() if isinstance(task, type) else task
        if not task.name:
            task.name = self.gen_task_name(type(task).__name__, type(task).__module__)
        for option, value in options.items():
            setattr(task, option, value)
        return self._adopt(task)

    def _adopt(self, task: AnyTask) -> AnyTask:
        self._tasks[task.name] = task
        task.bind(self)
        self._heed_override(task)
        if self.finalized:
            annotate(task, self.conf.task_annotations)
        return task

    def _heed_override(self, task: AnyTask) -> None:
        if task.sends_itself and not self._is_overridden:
            self._is_overridden = True
            self._lay_passage()

    def gen_task_name(self, name: str, module: str | None) -> str:
        """The name of a task that was given none; override it for another scheme."""
        if module == "__main__":
            module = self.main or module
        return f"{module}.{name}" if module else name

    @property
    def Task(self) -> type[AnyTask]:
        """The base of this app's tasks, for class based ones. Another may be put here, `app.Task = Logged`:
        tasks that were declared before, and not used yet, get it too."""
        if self._task_class is None:
            self._task_class = self.create_task_cls()
        return self._task_class

    @Task.setter
    def Task(self, kind: type[AnyTask]) -> None:
        self._task_class = kind
        self._rebase(kind)
        if current.app_so_far() is self:
            self._lead_shared()

    def _rebase(self, kind: type[AnyTask]) -> None:
        for task, remade in self._of_no_base:
            self._adopt(become(task, remade(base=kind)))

    def create_task_cls(self) -> type[AnyTask]:
        """For subclasses: makes what `Task` gives."""
        made = self.subclass_with_self(self._named_class, name="Task", attribute="_app", abstract=True)
        return cast(type[AnyTask], made)

    def subclass_with_self(
        self,
        kind: type | str,
        name: str | None = None,
        attribute: str = "app",
        reverse: object = None,
        keep_reduce: bool = False,
        **attributes: Any,
    ) -> Any:
        """A subclass that knows this app by an attribute; the class may be named (`proj.tasks:Tenant`)."""
        base = import_object(kind) if isinstance(kind, str) else kind
        said = {"__module__": base.__module__, "__doc__": base.__doc__, attribute: self}
        return type(name or base.__name__, (base,), {**said, **attributes})

    @property
    def _base_class(self) -> type[AnyTask]:
        """What tasks are made of that name no base."""
        if self._task_class is not None or type(self).create_task_cls is not Celery.create_task_cls:
            return self.Task
        return self._named_class

    def base_so_far(self) -> type[AnyTask] | None:
        """The same; None while it would have to be imported, perhaps too early for that."""
        if self._task_class is not None or "_named_class" in vars(self):
            return self._base_class
        is_made = type(self).create_task_cls is not Celery.create_task_cls
        return None if is_made or isinstance(self.task_cls, str) else self._base_class

    def _base_to_begin_with(self) -> type[AnyTask]:
        """The same; where its module cannot be imported yet (it may be the one that makes this app, or want
        Django's apps to be ready) a plain one, until the app is used."""
        try:
            return self._base_class
        except Exception:
            if self.finalized:
                raise
            self.awaits_base = True
            self._is_overridden = True  # by what the base may do
            self._lay_passage()
            return Task

    @cached_property
    def _named_class(self) -> type[AnyTask]:
        if isinstance(self.task_cls, str):
            return cast(type[AnyTask], import_object(self.task_cls))
        return self.task_cls or Task

    def _lead_shared(self) -> None:
        """Tasks without an app of their own are what the current app makes of them."""
        for shared in list(current.shared):
            shared.follow(self)

    @property
    def tasks(self) -> TaskRegistry:
        """All tasks by their names."""
        if not self.finalized:
            self.finalize(auto=True)
        return self._tasks

    def finalize(self, auto: bool = False) -> None:
        """Make the app ready: shared tasks come in. Happens by itself at the first use of a task."""
        with self._lock:
            if self.finalized:
                return
            if auto and not self.autofinalize:
                raise RuntimeError(
                    "a task is used, but this app has autofinalize=False: call app.finalize() first"
                )
            base = self._base_class if self.awaits_base else None
            self.finalized, self.awaits_base = True, False
            if base is not None:
                self._rebase(base)
            builtin.register(self)
            for shared in list(current.shared):
                shared.register(self)
            for task in list(self._tasks.values()):
                annotate(task, self.conf.task_annotations)
                self._heed_override(task)  # a tracer may have come in between
            if current.app_so_far() is self:
                self._lead_shared()
            self._of_no_base.clear()
            for key, entry in self.notes.periodic:
                self._plan(key, entry)
            self.on_configure.send(self)
            self.on_after_configure.send(self, source=self.conf)
            self.on_after_finalize.send(self)

    def adopt_shared(self) -> None:
        """Take in what other apps of this process declare, but for `shared=False`: a worker runs it too."""
        for other in list(current.apps):
            if other is self or not isinstance(other, Celery):
                continue
            unshared = other.notes.unshared
            for name, task in list(other._tasks.items()):
                if name not in self.tasks and name not in unshared and hasattr(task, "__wrapped__"):
                    self._adopt(type(task)())

    # --- sending ------------------------------------------------------------------------------------------

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send a task by its name alone; this process need not know it. Options as for apply_async."""
        if self.conf.task_always_eager:
            warnings.warn(
                f"task_always_eager has no effect on send_task({name!r}): only a name is known; it is sent",
                AlwaysEagerIgnored,
                stacklevel=2,
            )
        task = self._tasks.get(name)
        if task is not None:
            for limit in ("time_limit", "soft_time_limit"):
                options.setdefault(limit, getattr(task, limit))
        if self.passage is not None:
            called = options.pop("task_type", None)
            message = send_through(self.passage, self, name, tuple(args or ()), kwargs or {}, options, called)
        else:
            message = compose(self, name, tuple(args or ()), kwargs or {}, options)
            self.send(message, name)
        result: AsyncResult[Any] = AsyncResult(message.id, None, name, self)
        ignored = options.get("ignore_result")
        result.ignored = bool(self.conf.task_ignore_result if ignored is None else ignored)
        parent = requests.current()
        if parent is not None and options.get("add_to_parent", True):
            parent.children.append(result)
        return result

    def message_for(
        self,
        signature: Mapping[str, Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Message:
        """The message that a signature comes to, not sent: `args` go in front, options win over its own."""
        known = signature if isinstance(signature, Signature) else Signature.from_dict(signature, app=self)
        return canvas.messages_of(self, known, args, kwargs, **options)[0][0]

    def send(self, message: Message, name: str) -> None:
        """Publish one task's message, and tell those who listen for that."""
        if signals.before_task_publish.receivers:
            message = must_fit(self, told_before(message, name))
        if message.copies is None and message.fanout is None:
            self.connections.broker.publish((message,))
        else:
            self.publish((message,))
        if signals.after_task_publish.receivers or signals.task_sent.receivers:
            tell_after(message)

    def publish(self, messages: Sequence[Message]) -> None:
        """Send what is composed already."""
        messages = spread(messages, self)
        if messages:
            for message in messages:
                must_fit(self, message)
            self.broker.publish(messages)

    def _bindings(self, exchange: str) -> Sequence[Binding]:
        return self.broker.bindings(exchange)

    def publish_all(self, batches: Iterable[Sequence[Message]]) -> None:
        """Send batches, each composed while the store takes in the one before, and tell those who listen."""
        if not (signals.after_task_publish.receivers or signals.task_sent.receivers):
            self.broker.publish_all(spread(batch, self) for batch in batches)
            return
        for batch in batches:
            self.publish(batch)
            for message in batch:
                tell_after(message)

    def add_periodic_task(
        self,
        schedule: Any,
        sig: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> str:
        """Note a call to be sent again and again; returns its key in `conf.beat_schedule`.

        @app.on_after_finalize.connect
        def plan(sender, **kwargs):
            sender.add_periodic_task(30.0, clean.s("tmp"), name="clean every half minute")

        Options are those of apply_async; catch_up, deadline, jitter, start, end, max_runs, overlap, enabled
        and timezone are the entry's own, see docs/schedules.md.
        """
        call = self.signature(sig, args, kwargs) if args or kwargs else self.signature(sig)
        key = name or repr(call)
        own = {word: options.pop(word) for word in OWN_WORDS if word in options}
        entry = {
            "schedule": schedule,
            "task": call.name,
            "args": call.args,
            "kwargs": call.kwargs,
            "options": {**call.options, **options},
            **own,
        }
        # Before the app is finalized a configuration may still be read, which shall not lose it.
        if self.finalized:
            self._plan(key, entry)
        else:
            self.notes.periodic.append((key, entry))
        return key

    def _plan(self, key: str, entry: dict[str, Any]) -> None:
        plan = dict(self.conf.beat_schedule or {})
        if key in plan and plan[key] != entry:
            _log.warning("Two periodic tasks have the key %r: the later one counts. Give them names", key)
        plan[key] = entry
        self.conf.beat_schedule = plan

    def signature(self, varies: Any, *args: Any, **kwargs: Any) -> Signature:
        """A call as a value, bound to this app."""
        return canvas.signature(varies, *args, **{"app": self, **kwargs})

    def AsyncResult(self, id: str, **options: Any) -> AsyncResult[Any]:
        """The result of the call with this id."""
        return AsyncResult(id, app=self, **options)

    @cached_property
    def ResultSet(self) -> type[ResultSet[Any]]:
        """Results of this app: `app.ResultSet([a, b]).get()`."""
        return type("ResultSet", (ResultSet,), {"app_of_class": self})

    @cached_property
    def GroupResult(self) -> type[GroupResult[Any]]:
        """Groups of this app: `app.GroupResult.restore(id)`."""
        return type("GroupResult", (GroupResult,), {"app_of_class": self})

    # --- the store ----------------------------------------------------------------------------------------

    @property
    def broker_url(self) -> str:
        """Where messages go: broker_write_url, broker_url, or the embedded default."""
        return self.connections.broker_url

    @property
    def result_url(self) -> str | None:
        """Where results go; None is nowhere."""
        return self.connections.result_url

    @property
    def broker(self) -> Broker:
        """This process's connection for sending; opened when it is first needed."""
        return self.connections.broker

    @property
    def results(self) -> ResultStore | None:
        """This process's connection to the results; None where results are off."""
        return self.connections.results

    @property
    def waiting(self) -> Waiting:
        """The one watch on which all callers of this process wait for results."""
        return self.connections.waiting

    @property
    def bus(self) -> Bus:
        """This process's connection for remote control and events; opened when it is first needed."""
        return self.connections.bus

    def open_worker_broker(self) -> Broker:
        """A connection of its own for one who claims; who opens it closes it."""
        return self.connections.open_worker_broker()

    def is_end(self, payload: bytes) -> bool:
        """Whether this stored result says that its task has ended."""
        return is_end(payload, self.conf.result_accept_content or self.conf.accept_content)

    def works_as(self, owner: str) -> None:
        """This process runs tasks now, which this owner holds."""
        self.owner = owner if self.connections.are_one_store else ""

    def open_schedules(self) -> ScheduleStore:
        """A connection of its own to the plans of this app's schedulers; who opens it closes it."""
        return self.connections.open_schedules(self.conf.beat_group or self.main or "celery")

    def _forked(self) -> None:
        """This process is a child of the one that used the app before."""
        self._lock = threading.RLock()
        logical.clock.part_from_parent()
        self.on_after_fork.send(self)

    @cached_property
    def control(self) -> Control:
        """Say something to all workers: `app.control.revoke(id)`."""
        return Control(self)

    @cached_property
    def schedules(self) -> Schedules:
        """What is called again and again: `app.schedules.add(...)`, pause, trigger, list."""
        kept: Schedules = import_module(_SCHEDULES).KeptSchedules(self)
        return kept

    def purge(self, queues: Iterable[str]) -> int:
        """Remove what waits in these queues; returns how many messages. There is no undo."""
        return purge(self, queues)

    @cached_property
    def events(self) -> Any:
        """What workers tell of themselves: `app.events.Receiver(handlers={"*": print}).capture()`."""
        return import_module(_EVENTS).Events(self)

    def connection(self, url: str | None = None, hostname: str | None = None, **_options: Any) -> Any:
        """Something to ask whether the broker is there and how long a queue is, as kombu's connections are
        asked; see celeriac.compat.connection. Sending needs none. With a URL it asks another broker."""
        other, connections = url or hostname, import_module(_CONNECTION)
        return connections.Connection(self) if other is None else connections.ConnectionTo(other)

    connection_for_read = connection_for_write = broker_connection = connection

    def connection_or_acquire(self, connection: Any = None, pool: bool = True) -> Any:
        """The connection itself, or one."""
        return self.connection() if connection is None else contextlib.nullcontext(connection)

    default_connection = connection_or_acquire

    @property
    def pool(self) -> Any:
        """Hands out what `connection` gives."""
        return import_module(_CONNECTION).Pool(self.connection)

    @property
    def producer_pool(self) -> Any:
        """Hands out what `apply_async(producer=...)` takes; a call needs none."""
        return self.amqp.producer_pool

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """The producer itself, or one."""
        return self.producer_pool.acquire() if producer is None else contextlib.nullcontext(producer)

    default_producer = producer_or_acquire

    @cached_property
    def backend(self) -> Any:
        """The results in Celery's words: `app.backend.get_task_meta(id)`. Nothing here needs it."""
        return import_module(_BACKENDS).backend_of(self)

    @cached_property
    def log(self) -> Any:
        """Loggers in Celery's words: `app.log.get_default_logger()`."""
        return import_module(_LOG).Logging(self)

    @cached_property
    def steps(self) -> Any:
        """Classes of what starts and stops beside a worker: `app.steps["worker"].add(LivenessProbe)`."""
        return import_module(_STEPS).Steps(self)

    @cached_property
    def loader(self) -> Any:
        """Imports what declares tasks, in Celery's words: `app.loader.import_default_modules()`."""
        return import_module(_LOADER).AppLoader(self)

    @cached_property
    def amqp(self) -> Any:
        """Queues and routes in Celery's words: `app.amqp.queues["mail"]`. Nothing here needs it."""
        return import_module(_AMQP).AMQP(self)

    def select_queues(self, queues: Iterable[str]) -> None:
        """A worker of this app shall serve these, unless -Q says otherwise."""
        self.amqp.queues.select(queues)

    def bugreport(self) -> str:
        """What to tell somebody who shall help you: versions, platform, settings; without secrets."""
        from celeriac import reporting

        facts = reporting.facts(self.main or "(no name)", self.broker_url, self.result_url, self.conf)
        return reporting.as_text(facts)

    # --- running --------------------------------------------------------------------------------------------

    def start(self, argv: Sequence[str] | None = None) -> int:
        """Run a command of `celeriac` with this app, in this process; returns its exit code.

        app.start(["worker", "--loglevel=INFO"])
        """
        program = import_module(_PROGRAM).program
        said = list(sys.argv[1:] if argv is None else argv)
        try:
            program.main(said, prog_name="celeriac", obj=self, auto_envvar_prefix="CELERY")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        return 0

    def worker_main(self, argv: Sequence[str] | None = None) -> int:
        """Run a worker in this process: `app.worker_main(["worker", "-c", "2"])`."""
        if "worker" not in (sys.argv if argv is None else argv):
            raise ValueError(
                'worker_main() takes a whole command line, as in app.worker_main(["worker", "-c", "2"]); '
                "app.start() runs other commands"
            )
        return self.start(argv)

    def Worker(self, **options: Any) -> Any:
        """A worker to be started in this process: `app.Worker(concurrency=2).start()`."""
        return import_module(_PROGRAMS).Worker(self, **options)

    WorkController = Worker

    def Beat(self, **options: Any) -> Any:
        """A scheduler to be started in this process: `app.Beat().run()`."""
        return import_module(_PROGRAMS).Beat(self, **options)

    # --- testing ------------------------------------------------------------------------------------------

    def testing(self, now: datetime | float | None = None, throw: bool = False) -> Stepper:
        """Inside, what is sent waits in this process, and runs when the test says so; see docs/testing.md.

            with app.testing() as stepper:
                order.delay(7)
                stepper.run()

        `now` is where the clock begins; with `throw` the first task that fails raises its error in the test.
        """
        stepper: Stepper = import_module(_TESTING).MemoryStepper(self, now=now, throw=throw)
        return stepper

    @contextlib.contextmanager
    def standing_on(self, ground: Ground) -> Iterator[None]:
        """Inside, nothing of what the settings name is reached: messages and results go to `ground`."""
        time = self.time
        self._close_schedules()
        with self.connections.standing_on(ground):
            self.time = ground.time
            try:
                yield
            finally:
                self._close_schedules()
                self.time = time

    # --- settings and modules -----------------------------------------------------------------------------

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Read settings from an object, a mapping, or a module (`proj.settings`, `proj.settings:Live`).

        What is set directly on the app wins. With namespace="CELERY" only names like CELERY_BROKER_URL count.
        """
        try:
            source = import_object(obj) if isinstance(obj, str) else obj
        except Exception as error:
            if silent and isinstance(error, ImportError):
                return
            error.add_note(f"{IMPORTED}by config_from_object({obj!r}), to read settings from it)")
            raise
        settings = read_source(source, namespace or self.namespace)
        self.conf.load(settings, f"the module {obj}" if isinstance(obj, str) else None)

    def config_from_cmdline(self, argv: Iterable[str], namespace: str = "celery") -> None:
        """Set settings as a command line says them: `["task_time_limit=30", "worker.concurrency=2"]`."""
        for word in argv:
            name, _, value = word.partition("=")
            name = name.strip().replace(".", "_")
            name = name if name in self.conf else f"{namespace}_{name}"
            self.conf.pin(name, coerce(name, value.strip()))

    def either(self, default_key: str, *defaults: Any) -> Any:
        """The first of these that is there: a setting, then values or functions that give them."""
        given = self.conf.get(default_key)
        values = (given, *(default() if callable(default) else default for default in defaults))
        return next((value for value in values if value is not None), None)

    def config_from_envvar(self, variable_name: str, silent: bool = False, force: bool = False) -> None:
        """Read settings from the module that an environment variable names."""
        name = os.environ.get(variable_name)
        if name:
            self.config_from_object(name, silent=silent, force=force)
        elif not silent:
            raise ImportError(f"the variable {variable_name} is not set; it should name a module of settings")

    def add_middleware(self, middleware: Entry) -> None:
        """Have all calls pass it, inside of what was added before; see celeriac.middleware.

        For workers it counts if it is added before they start, as tasks are.
        """
        self.notes.middleware.append(middleware)
        self._lay_passage()

    def take_up(self, notes: Notes) -> None:
        """What was said of another app was said of this one."""
        self.notes = notes
        self._lay_passage()

    def _settings_changed(self) -> None:
        conf = self.__dict__.get("conf")
        if conf is None:
            return
        said = (tuple(conf.middleware), bool(conf.task_send_sent_event))
        if said != self._middleware_said or (self._is_overridden and self.passage is None):
            self._middleware_said = said
            self._lay_passage()

    def _lay_passage(self) -> None:
        said, tells_of_sent = self._middleware_said
        entries = (*said, *self.notes.middleware)
        if tells_of_sent:
            entries = (import_module(_SENT).TellingOfSent(self), *entries)
        self.passage = Passage(entries) if entries or self._is_overridden else None

    def add_defaults(self, defaults: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Other defaults for settings."""
        self.conf.add_defaults(defaults() if callable(defaults) else defaults)

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Have `<package>.tasks` of each package imported by the worker; with force, now.

        Without packages those of Django's installed apps, where there is Django.
        """
        if packages is None and self.site is not None:
            packages = self.site.packages
        if force:
            for module, may_be_missing in discovered(packages, related_name):
                import_task_module(module, may_be_missing)
        else:
            self.notes.to_discover.append((packages, related_name))

    def import_modules(self) -> None:
        """Import all modules that declare tasks: imports, include, and what is to be discovered."""
        signals.import_modules.send(self)
        for module, may_be_missing in self.task_modules():
            import_task_module(module, may_be_missing)

    def task_modules(self) -> Iterator[tuple[str, bool]]:
        """The modules that declare tasks, and of each whether it may as well not be there."""
        if self.site is not None:
            self.site.prepare()
        for module in (*(self.conf.imports or ()), *(self.conf.include or ())):
            yield module, False
        for packages, related_name in self.notes.to_discover:
            yield from discovered(packages, related_name)

    # --- life ---------------------------------------------------------------------------------------------

    @property
    def current_task(self) -> AnyTask | None:
        """The task that runs here; None outside of tasks."""
        request = requests.current()
        return self._tasks.get(request.task) if request is not None and request.task else None

    @property
    def current_worker_task(self) -> AnyTask | None:
        """The task that the worker runs here, also within a task that it calls as a function."""
        request = requests.outermost()
        return self._tasks.get(request.task) if request is not None and request.task else None

    def uses_utc_timezone(self) -> bool:
        """Whether its times are UTC."""
        return self.timezone in (UTC, zone_named("UTC"))

    def now(self) -> datetime:
        """The time, in the app's time zone."""
        return datetime.fromtimestamp(self.time(), self.timezone)

    @property
    def timezone(self) -> tzinfo:
        """The time zone of naive times and of schedules."""
        return zone_named(self.conf.timezone) if self.conf.timezone else UTC

    @cached_property
    def oid(self) -> str:
        """An id of this app in this process."""
        return str(new_id())

    def set_current(self) -> None:
        """Make it the app that is meant when nobody says which."""
        current.set_current_app(self)

    def set_default(self) -> None:
        """Make it the current app of every thread that has none of its own."""
        current.set_default_app(self)

    def close(self) -> None:
        """Close its connections; may be called twice. The next use opens them again."""
        self.connections.close()
        self._close_schedules()
        current.forget_app(self)

    def _close_schedules(self) -> None:
        if "schedules" in self.__dict__:
            self.schedules.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __copy__(self) -> Self:
        """An app of its own with the same settings and tasks; it is not made the current one."""
        twin: Self = made_again(parts_of(self), [type(task) for task in self._tasks.values()])
        return twin

    def __deepcopy__(self, _memo: object) -> Self:
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        # As Python pickles functions: by where they are found. What is found nowhere stays behind.
        found = [place for task in self._tasks.values() if (place := place_of(task)) is not None]
        return unpickled, (parts_of(self), found)

    def __class_getitem__(cls, _item: object) -> type[Self]:
        return cls

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'} at {id(self):#x}>"


def _same_function(task: AnyTask, function: Callable[..., Any]) -> bool:
    """A module that is imported twice (or again) declares its tasks again; that is no second task."""
    return getattr(task, "__qualname__", type(task).__qualname__) == function.__qualname__


def _default_app() -> Celery:
    """For who uses a task before there is an app: set up by the module that the environment names."""
    if os.environ.get("C_STRICT_APP"):
        raise RuntimeError(
            "the app is asked for and there is none: create one first, Celery(...) (C_STRICT_APP is set)"
        )
    if os.environ.get("C_WARN_APP"):
        warnings.warn("the app is asked for and there is none: the default one is used", stacklevel=4)
    app = Celery("default", set_as_current=False)
    named = os.environ.get("CELERY_CONFIG_MODULE")
    if named:
        app.config_from_object(named)
    return app


current.make_default = _default_app
