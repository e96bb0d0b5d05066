"""`celery.beat`: the classes that other people's schedulers subclass, and the loop that runs one of theirs.

Our own scheduler needs nothing of it. Entries here live in memory (or where the subclass keeps them), so what
is promised of ours, each occurrence once among many schedulers, is up to the subclass.
"""

from __future__ import annotations

import heapq
import logging
import shelve
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import copy
from datetime import datetime
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

from celeriac import __version__, signals
from celeriac.current import get_current_app
from celeriac.exceptions import CeleriacError
from celeriac.schedules import maybe_schedule
from celeriac.schedules.entry import BeatLazyFunc

__all__ = [
    "DEFAULT_MAX_INTERVAL",
    "BeatLazyFunc",
    "EmbeddedService",
    "PersistentScheduler",
    "ScheduleEntry",
    "Scheduler",
    "SchedulingError",
    "Service",
    "event_t",
]

#: Seconds.
DEFAULT_MAX_INTERVAL = 300

logger = logging.getLogger("celery.beat")


class SchedulingError(CeleriacError):
    """A task of a schedule could not be sent."""


class event_t(NamedTuple):
    """What lies in the heap of a scheduler."""

    time: float
    priority: int
    entry: Any


class ScheduleEntry:
    """One entry and how often it ran. `next(entry)` is the entry after one more run."""

    #: Of the fields above, those that a change of the configuration changes.
    EDITABLE = ("task", "schedule", "args", "kwargs", "options")

    name: Any = None
    schedule: Any = None
    args: Any = None
    kwargs: Any = None
    options: Any = None
    last_run_at: Any = None
    total_run_count: int = 0

    def __init__(
        self,
        name: Any = None,
        task: Any = None,
        last_run_at: datetime | None = None,
        total_run_count: int | None = None,
        schedule: Any = None,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        relative: bool = False,
        app: Any = None,
    ) -> None:
        self.app = app
        self.name = name
        self.task = task
        self.args = args or ()
        self.kwargs = kwargs or {}
        self.options = options or {}
        self.schedule = maybe_schedule(schedule, relative, app=app or get_current_app())
        self.last_run_at = last_run_at or self.default_now()
        self.total_run_count = total_run_count or 0

    def default_now(self) -> datetime:
        now: datetime = (
            self.schedule.now() if self.schedule is not None else (self.app or get_current_app()).now()
        )
        return now

    _default_now = default_now

    def _next_instance(self, last_run_at: datetime | None = None) -> Any:
        fields = dict(self)
        fields["last_run_at"] = last_run_at or self.default_now()
        fields["total_run_count"] = self.total_run_count + 1
        return type(self)(**fields)

    __next__ = next = _next_instance

    def update(self, other: Any) -> None:
        """Take over what is called and when; how often it ran stays."""
        for field in self.EDITABLE:
            setattr(self, field, getattr(other, field))

    def is_due(self) -> Any:
        return self.schedule.is_due(self.last_run_at)

    def editable_fields_equal(self, other: Any) -> bool:
        return all(getattr(self, field) == getattr(other, field) for field in self.EDITABLE)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(vars(self).items())

    def __lt__(self, other: object) -> bool:
        # The heap compares entries of one time and priority; any order will do.
        return id(self) < id(other) if isinstance(other, ScheduleEntry) else NotImplemented

    def __eq__(self, other: object) -> bool:
        return self.editable_fields_equal(other) if isinstance(other, ScheduleEntry) else NotImplemented

    __hash__ = object.__hash__

    def __reduce__(self) -> Any:
        return type(self), (
            self.name,
            self.task,
            self.last_run_at,
            self.total_run_count,
            self.schedule,
            self.args,
            self.kwargs,
            self.options,
        )

    def __repr__(self) -> str:
        given = ", ".join(
            [*map(repr, self.args), *(f"{key}={value!r}" for key, value in self.kwargs.items())]
        )
        return f"<{type(self).__name__}: {self.name} {self.task}({given}) {self.schedule!r}>"


class Scheduler:
    """Keeps entries and sends those that are due: `tick()` again and again."""

    Entry: Any = ScheduleEntry
    schedule_filename: str | None = None
    max_interval: float = DEFAULT_MAX_INTERVAL
    #: Seconds between two calls of `sync`.
    sync_every: float = 3 * 60
    #: Tasks between two calls of `sync`; None is by time alone.
    sync_every_tasks: int | None = None
    logger = logger

    def __init__(
        self,
        app: Any,
        schedule: Any = None,
        max_interval: float | None = None,
        Producer: Any = None,  # noqa: N803 - Celery's name
        lazy: bool = False,
        sync_every_tasks: int | None = None,
        **_: Any,
    ) -> None:
        self.app = app
        self.data = {} if schedule is None else schedule
        self.max_interval = max_interval or app.conf.beat_max_loop_interval or self.max_interval
        self.Producer = Producer
        self.sync_every_tasks = sync_every_tasks or app.conf.beat_sync_every or None
        self._heap: Any = None
        self.old_schedulers: Any = None
        self._last_sync: float | None = None
        self._tasks_since_sync = 0
        if not lazy:
            self.setup_schedule()

    # --- entries ------------------------------------------------------------------------------------------

    def setup_schedule(self) -> None:
        self.install_default_entries(self.data)
        self.merge_inplace(self.app.conf.beat_schedule)

    def install_default_entries(self, data: Mapping[str, Any]) -> None:
        """For subclasses. There are none: our result stores all forget by themselves what has expired."""

    def add(self, **fields: Any) -> Any:
        entry = self.Entry(app=self.app, **fields)
        self.schedule[entry.name] = entry
        return entry

    def update_from_dict(self, dict_: Mapping[str, Any]) -> None:
        self.schedule.update({name: self._maybe_entry(name, entry) for name, entry in dict_.items()})

    def merge_inplace(self, b: Mapping[str, Any]) -> None:
        """Make the schedule hold these names and no others; those that stay keep how often they ran."""
        for name in set(self.schedule) - set(b):
            self.schedule.pop(name, None)
        for name, fields in b.items():
            entry = self._maybe_entry(name, fields)
            if name in self.schedule:
                self.schedule[name].update(entry)
            else:
                self.schedule[name] = entry

    def _maybe_entry(self, name: str, entry: Any) -> Any:
        if isinstance(entry, self.Entry):
            entry.app = self.app
            return entry
        return self.Entry(**{**entry, "name": name, "app": self.app})

    def get_schedule(self) -> Any:
        return self.data

    def set_schedule(self, schedule: Any) -> None:
        self.data = schedule

    schedule = property(get_schedule, set_schedule)

    # --- ticks --------------------------------------------------------------------------------------------

    def tick(
        self,
        event_t: Any = event_t,
        min: Any = min,
        heappop: Any = heapq.heappop,
        heappush: Any = heapq.heappush,
    ) -> float:
        """Send the first entry if it is due; returns the seconds until the next tick."""
        self._renew_heap(event_t)
        if not self._heap:
            return self.max_interval
        first = self._heap[0]
        is_due, seconds = self.is_due(first.entry)
        if not is_due:
            return float(min(self._pause(seconds), self.max_interval))
        taken = heappop(self._heap)
        if taken is not first:
            # Somebody put an earlier one on the heap meanwhile.
            heappush(self._heap, taken)
            return 0
        following = self.reserve(first.entry)
        self.apply_entry(first.entry, producer=self.producer)
        heappush(self._heap, event_t(self._when(following, seconds), first.priority, following))
        return 0

    def _renew_heap(self, event: Any) -> None:
        schedule = self.schedule
        if self._heap is None or not self.schedules_equal(self.old_schedulers, schedule):
            self.old_schedulers = copy(schedule)
            self.populate_heap(event)

    def populate_heap(self, event_t: Any = event_t, heapify: Any = heapq.heapify) -> None:
        self._heap = [
            event_t(self._when(entry, 0 if is_due else seconds or 0), 5, entry)
            for entry in self.schedule.values()
            for is_due, seconds in (entry.is_due(),)
        ]
        heapify(self._heap)

    def schedules_equal(self, old_schedules: Any, new_schedules: Any) -> bool:
        if old_schedules is None or new_schedules is None:
            return old_schedules is new_schedules
        return set(old_schedules) == set(new_schedules) and all(
            old_schedules[name] == entry for name, entry in new_schedules.items()
        )

    def is_due(self, entry: Any) -> Any:
        return entry.is_due()

    def adjust(self, n: float | None, drift: float = -0.010) -> float | None:
        """A little less, for the time that a tick takes itself."""
        return n + drift if n and n > 0 else n

    def _pause(self, seconds: float | None) -> float:
        adjusted = self.adjust(seconds)
        return self.max_interval if adjusted is None else adjusted

    def _when(self, entry: Any, next_time_to_run: float, mktime: Any = time.mktime) -> float:
        """Where in the order of the heap it stands, in epoch seconds."""
        now: datetime = entry.default_now()
        return now.timestamp() + (self.adjust(next_time_to_run) or 0)

    def reserve(self, entry: Any) -> Any:
        """The entry as it is after this run, in its place."""
        following = self.schedule[entry.name] = next(entry)
        return following

    # --- sending ------------------------------------------------------------------------------------------

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        logger.info("Scheduler: Sending due task %s (%s)", entry.name, entry.task)
        try:
            result = self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:
            logger.error("Message Error: %s\n%s", error, traceback.format_exc())
        else:
            logger.debug("%s sent. id->%s", entry.task, getattr(result, "id", None))

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        entry = self.reserve(entry) if advance else entry
        task = self.app.tasks.get(entry.task)
        options = {**entry.options, **kwargs}
        options["headers"] = {**(options.get("headers") or {}), "celery_beat_task": True}
        try:
            args = [_now(value) for value in entry.args or ()]
            named = {key: _now(value) for key, value in (entry.kwargs or {}).items()}
            if task is not None:
                return task.apply_async(args, named, producer=producer, **options)
            return self.send_task(entry.task, args, named, producer=producer, **options)
        except Exception as error:
            raise SchedulingError(f"The task of {entry.name} could not be sent: {error}") from error
        finally:
            self._tasks_since_sync += 1
            if self.should_sync():
                self._do_sync()

    def send_task(self, *args: Any, producer: Any = None, **kwargs: Any) -> Any:
        return self.app.send_task(*args, **kwargs)

    @property
    def producer(self) -> None:
        """None is needed: the app sends."""

    # --- its end ------------------------------------------------------------------------------------------

    def should_sync(self) -> bool:
        too_old = self._last_sync is None or time.monotonic() - self._last_sync > self.sync_every
        return too_old or bool(self.sync_every_tasks and self._tasks_since_sync >= self.sync_every_tasks)

    def _do_sync(self) -> None:
        try:
            logger.debug("beat: Synchronizing schedule...")
            self.sync()
        finally:
            self._last_sync = time.monotonic()
            self._tasks_since_sync = 0

    def sync(self) -> None:
        """For subclasses: write down what changed."""

    def close(self) -> None:
        self.sync()

    @property
    def info(self) -> str:
        """For subclasses: a line of the start block."""
        return ""


class PersistentScheduler(Scheduler):
    """Keeps its entries in a file. A base for others: `celeriac beat` keeps its own in the broker's store."""

    persistence = shelve
    known_suffixes = ("", ".db", ".dat", ".bak", ".dir")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._store: Any = None
        self.schedule_filename = kwargs.get("schedule_filename") or "celerybeat-schedule"
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        try:
            self._store = self._open_schedule()
            self._store.get("entries")
        except Exception as error:
            logger.error("The schedule file %s is damaged and made anew: %r", self.schedule_filename, error)
            self._store = self._made_anew()
        signature = {
            "__version__": __version__,
            "tz": str(self.app.timezone),
            "utc_enabled": bool(self.app.conf.enable_utc),
        }
        if any(self._store.get(key) != value for key, value in signature.items()):
            # Its last runs are times of another clock.
            self._store.clear()
            self._store.update(signature)
        self._store.setdefault("entries", {})
        self.merge_inplace(self.app.conf.beat_schedule)
        self.install_default_entries(self.schedule)
        self.sync()

    def _open_schedule(self) -> Any:
        return self.persistence.open(self.schedule_filename, writeback=True)  # type: ignore[arg-type]

    def _made_anew(self) -> Any:
        if self._store is not None:
            with suppress(Exception):
                self._store.close()
        for suffix in self.known_suffixes:
            Path(f"{self.schedule_filename}{suffix}").unlink(missing_ok=True)
        return self._open_schedule()

    def get_schedule(self) -> Any:
        return self._store["entries"]

    def set_schedule(self, schedule: Any) -> None:
        self._store["entries"] = schedule

    schedule = property(get_schedule, set_schedule)

    def sync(self) -> None:
        if self._store is not None:
            self._store.sync()

    def close(self) -> None:
        self.sync()
        if self._store is not None:
            self._store.close()

    @property
    def info(self) -> str:
        return f"    . db -> {self.schedule_filename}"


class Service:
    """The loop around a scheduler of somebody else's."""

    scheduler_cls: Any = PersistentScheduler

    def __init__(
        self,
        app: Any,
        max_interval: float | None = None,
        schedule_filename: str | None = None,
        scheduler_cls: Any = None,
    ) -> None:
        self.app = app
        # A class that cannot be imported is told at the start.
        self.scheduler_cls = _class_of(scheduler_cls or app.conf.beat_scheduler or self.scheduler_cls)
        self.max_interval = max_interval or app.conf.beat_max_loop_interval or self.scheduler_cls.max_interval
        self._asked_interval = max_interval
        self.schedule_filename = schedule_filename or app.conf.beat_schedule_filename
        self._is_shutdown = threading.Event()
        self._is_stopped = threading.Event()

    def start(self, embedded_process: bool = False) -> None:
        logger.info("beat: Starting...")
        self.app.set_current()
        scheduler = self.scheduler
        logger.debug("beat: Ticking with max interval->%s seconds", scheduler.max_interval)
        signals.beat_init.send(self)
        if embedded_process:
            signals.beat_embedded_init.send(self)
        try:
            while not self._is_shutdown.is_set():
                pause = scheduler.tick()
                if pause and pause > 0:
                    logger.debug("beat: Waking up in %.2f seconds.", pause)
                    self._is_shutdown.wait(min(pause, scheduler.max_interval))
                    if scheduler.should_sync():
                        scheduler._do_sync()
        finally:
            logger.info("beat: Shutting down...")
            scheduler.close()
            self._is_stopped.set()

    def sync(self) -> None:
        self.scheduler.close()
        self._is_stopped.set()

    def stop(self, wait: bool = False) -> None:
        # From a handler, while the same thread may hold the event's lock: let another thread set it.
        threading.Thread(target=self._is_shutdown.set, daemon=True).start()
        if wait:
            self._is_stopped.wait()

    def get_scheduler(self, lazy: bool = False, extension_namespace: str = "celery.beat_schedulers") -> Any:
        return self.scheduler_cls(
            app=self.app,
            schedule_filename=self.schedule_filename,
            max_interval=self._asked_interval,
            lazy=lazy,
        )

    @cached_property
    def scheduler(self) -> Any:
        return self.get_scheduler()


class _Embedded(threading.Thread):
    """A service in a thread of this process."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(name="Beat", daemon=True)
        self.app = app
        self.service = Service(app, **options)

    def run(self) -> None:
        self.service.start(embedded_process=True)

    def stop(self) -> None:
        self.service.stop(wait=True)


def EmbeddedService(app: Any, max_interval: float | None = None, **options: Any) -> _Embedded:
    """A scheduler in a thread: `start()` and `stop()`."""
    options.pop("thread", None)
    return _Embedded(app, max_interval=max_interval, **options)


def _now(value: Any) -> Any:
    return value() if isinstance(value, BeatLazyFunc) else value


def _class_of(named: Any) -> Any:
    """A class, `module:Class`, `module.Class`, or the name of an entry point."""
    if not isinstance(named, str):
        return named
    for point in entry_points(group="celery.beat_schedulers"):
        if point.name == named:
            return point.load()
    module, _, name = named.replace(":", ".").rpartition(".")
    if not module:
        raise ImportError(f"{named!r} is neither module:Class nor the name of an installed scheduler")
    try:
        return getattr(import_module(module), name)
    except AttributeError:
        raise ImportError(f"the module {module} has no {name}") from None
