"""What a monitor knows: workers and tasks, put together from the events that it has heard.

    state = app.events.State()
    app.events.Receiver(handlers={"*": state.event}).capture()

A state can be pickled; its callbacks stay behind.
"""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self, TypeAlias
from weakref import ref

from celeriac import states
from celeriac.events.event import Fields

#: Percent of the time between two heartbeats after which a worker counts as gone.
HEARTBEAT_EXPIRE_WINDOW = 200
#: Seconds by which the clock of a worker may differ from ours before we say so.
HEARTBEAT_DRIFT_MAX = 16

_WORKER_FIELDS = ("hostname", "pid", "freq", "heartbeats", "clock", "active", "processed", "loadavg")
_SOFTWARE = ("sw_ident", "sw_ver", "sw_sys")


def heartbeat_expires(
    timestamp: float, freq: float = 60, expire_window: float = HEARTBEAT_EXPIRE_WINDOW
) -> float:
    """When a worker that was heard of then counts as gone."""
    return timestamp + freq * expire_window / 100


class Worker:
    """A node as its events tell of it."""

    heartbeat_max = 4
    expire_window = HEARTBEAT_EXPIRE_WINDOW
    _fields = (*_WORKER_FIELDS, *_SOFTWARE)

    def __init__(
        self,
        hostname: str | None = None,
        pid: int | None = None,
        freq: float = 60,
        heartbeats: list[float] | None = None,
        clock: int = 0,
        active: int | None = None,
        processed: int | None = None,
        loadavg: Any = None,
        sw_ident: str | None = None,
        sw_ver: str | None = None,
        sw_sys: str | None = None,
    ) -> None:
        self.hostname = hostname
        self.pid = pid
        self.freq = freq
        #: Epoch seconds at which we have heard of it, the last ones.
        self.heartbeats = [] if heartbeats is None else heartbeats
        self.clock = clock or 0
        self.active = active
        self.processed = processed
        self.loadavg = loadavg
        self.sw_ident = sw_ident
        self.sw_ver = sw_ver
        self.sw_sys = sw_sys

    def event(
        self, type_: str, timestamp: float | None = None, local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Learn from an event about it."""
        for name, value in (fields or {}).items():
            setattr(self, name, value)
        if type_ == "offline":
            self.heartbeats.clear()
            return
        heard = local_received or timestamp
        if heard:
            # Events may come in another order than they were sent.
            insort(self.heartbeats, heard)
            del self.heartbeats[: -self.heartbeat_max]

    def update(self, f: Mapping[str, Any], **more: Any) -> None:
        """Set some of its attributes."""
        for name, value in {**f, **more}.items():
            setattr(self, name, value)

    @property
    def heartbeat_expires(self) -> float:
        """When it counts as gone if nothing more is heard of it."""
        return heartbeat_expires(self.heartbeats[-1], self.freq, self.expire_window)

    @property
    def alive(self) -> bool:
        return bool(self.heartbeats) and time.time() < self.heartbeat_expires

    @property
    def status_string(self) -> str:
        return "ONLINE" if self.alive else "OFFLINE"

    @property
    def id(self) -> str:
        return f"{self.hostname}.{self.pid}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Worker) and self.hostname == other.hostname

    def __hash__(self) -> int:
        return hash(self.hostname)

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname} ({self.status_string})>"


#: State of a task -> those of its fields that an event of an earlier state may still tell.
_LATE_FIELDS = {
    states.RECEIVED: ("name", "args", "kwargs", "parent_id", "root_id", "retries", "eta", "expires"),
}
#: Event -> state. Others are told under their own name: `task-progress` is PROGRESS.
_STATES = {
    "sent": states.PENDING,
    "received": states.RECEIVED,
    "started": states.STARTED,
    "failed": states.FAILURE,
    "retried": states.RETRY,
    "succeeded": states.SUCCESS,
    "revoked": states.REVOKED,
    "rejected": states.REJECTED,
}


class Task:
    """One call as its events tell of it."""

    #: What may be told late, by an event that was overtaken.
    merge_rules = _LATE_FIELDS
    _info_fields = (
        "args", "kwargs", "retries", "result", "eta", "runtime", "expires", "exception", "exchange",
        "routing_key", "root_id", "parent_id",
    )  # fmt: skip
    _fields = (
        "uuid", "name", "state", "received", "sent", "started", "rejected", "succeeded", "failed", "retried",
        "revoked", "args", "kwargs", "eta", "expires", "retries", "worker", "result", "exception",
        "timestamp", "runtime", "traceback", "exchange", "routing_key", "clock", "client", "root",
        "root_id", "parent", "parent_id", "children",
    )  # fmt: skip

    name: str | None
    state: str
    timestamp: float
    worker: Worker | None
    client: str | None

    def __init__(
        self,
        uuid: str | None = None,
        cluster_state: State | None = None,
        children: Iterable[str] | None = None,
        **fields: Any,
    ) -> None:
        self.uuid = uuid
        self.cluster_state = cluster_state
        for name in self._fields:
            self.__dict__.setdefault(name, None)
        self.state = states.PENDING
        self.clock = 0
        #: Ids of the tasks that it has sent.
        self.child_ids: dict[str, None] = dict.fromkeys(children or ())
        self.__dict__.pop("children")
        self.__dict__.pop("root")
        self.__dict__.pop("parent")
        self.__dict__.update(fields)

    def event(
        self, type_: str, timestamp: float | None = None, local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Learn from an event about it; one that was overtaken by a later state changes that no more."""
        known = {name: value for name, value in (fields or {}).items() if name not in _OF_TASK}
        if not isinstance(known.get("clock"), int):
            known.pop("clock", None)  # the order of tasks goes by it
        state = _STATES.get(type_, type_.upper())
        if type_ in _STATES:
            setattr(self, type_, timestamp)
        if self._is_late(state):
            known = {name: known[name] for name in self.merge_rules.get(state, ()) if name in known}
        else:
            known.update(state=state, timestamp=timestamp)
        for name, value in known.items():
            setattr(self, name, value)

    def _is_late(self, state: str) -> bool:
        before = self.state
        if states.RETRY in (state, before):
            return False
        return states.precedence(state) > states.precedence(before)

    def info(self, fields: Iterable[str] | None = None, extra: Iterable[str] | None = None) -> Fields:
        """What there is to show of it."""
        names = [*(self._info_fields if fields is None else fields), *(extra or ())]
        return {name: value for name in names if (value := getattr(self, name, None)) is not None}

    def as_dict(self) -> Fields:
        """All that is known."""
        return {name: getattr(self, name, None) for name in self._fields}

    @property
    def ready(self) -> bool:
        """It has ended."""
        return self.state in states.READY_STATES

    @property
    def origin(self) -> str | None:
        """Who sent it, or else who runs it."""
        return self.client if self.worker is None else self.worker.id

    @property
    def id(self) -> str | None:
        return self.uuid

    @property
    def parent(self) -> Task | None:
        """The task that sent it, if we know of that."""
        return self._other(getattr(self, "parent_id", None))

    @property
    def root(self) -> Task | None:
        """The first task of its workflow."""
        return self._other(getattr(self, "root_id", None))

    @property
    def children(self) -> list[Task]:
        """What it has sent."""
        return [task for id in self.child_ids if (task := self._other(id)) is not None]

    def _other(self, id: str | None) -> Task | None:
        if not id or self.cluster_state is None:
            return None
        return self.cluster_state.tasks.get(id)

    def __getstate__(self) -> dict[str, Any]:
        kept = dict(self.__dict__)
        kept["cluster_state"] = None
        return kept

    def __repr__(self) -> str:
        return f"<Task: {self.name}({self.uuid}) {self.state} clock:{self.clock}>"


#: What events of one's own may call their fields too, and what stays ours then: `id`, `ready`, `parent` ...
_OF_TASK = frozenset({*vars(Task), "worker", "client", "cluster_state", "child_ids"})


class TimedTask(NamedTuple):
    """A place in the order of tasks."""

    clock: int
    timestamp: float
    origin: str
    task: Callable[[], Task | None]


#: Their names within State, where Worker and Task are what it makes of events.
WorkerSeen: TypeAlias = Worker
TaskSeen: TypeAlias = Task


class State:
    """See the head of this file.

    Of more workers and tasks than the limits those are forgotten of which nothing was heard for longest.
    """

    Worker = Worker
    Task = Task

    def __init__(
        self,
        callback: Callable[[State, Fields], object] | None = None,
        workers: Mapping[str, WorkerSeen] | None = None,
        tasks: Mapping[str, TaskSeen] | None = None,
        taskheap: Iterable[Any] | None = None,
        max_workers_in_memory: int = 5000,
        max_tasks_in_memory: int = 10_000,
        on_node_join: Callable[[WorkerSeen], object] | None = None,
        on_node_leave: Callable[[WorkerSeen], object] | None = None,
        tasks_by_type: Any = None,
        tasks_by_worker: Any = None,
    ) -> None:
        self.event_callback = callback
        self.max_workers_in_memory = max_workers_in_memory
        self.max_tasks_in_memory = max_tasks_in_memory
        self.on_node_join = on_node_join
        self.on_node_leave = on_node_leave
        self.workers: OrderedDict[str, WorkerSeen] = OrderedDict(workers or {})
        self.tasks: OrderedDict[str, TaskSeen] = OrderedDict(tasks or {})
        self.event_count = 0
        self.task_count = 0
        self.handlers: dict[str, Callable[[str, Fields], object]] = {}
        self._seen_types: set[str] = set()
        self._mutex = threading.RLock()

    # -- learning

    def event(self, event: Fields) -> tuple[tuple[Any, bool] | None, str]:
        """Learn from any event. Gives ((the worker or task, whether it is new), what was said of it)."""
        with self._mutex:
            self.event_count += 1
            if self.event_callback is not None:
                self.event_callback(self, event)
            group, _, subject = event["type"].partition("-")
            if group == "worker":
                return self._worker_event(subject, event), subject
            if group == "task":
                return self._task_event(subject, event), subject
            handler = self.handlers.get(group)
            if handler is not None:
                handler(subject, event)
            return None, subject

    def task_event(self, type_: str, fields: Fields) -> Any:
        """The same for what is said of a task, `received` for example."""
        return self.event({**fields, "type": f"task-{type_}"})[0]

    def worker_event(self, type_: str, fields: Fields) -> Any:
        """The same of a worker."""
        return self.event({**fields, "type": f"worker-{type_}"})[0]

    def _worker_event(self, subject: str, event: Fields) -> tuple[WorkerSeen, bool] | None:
        if "hostname" not in event or "timestamp" not in event:
            return None
        name = event["hostname"]
        is_new = name not in self.workers
        if subject == "offline":
            worker = self.workers.pop(name, None) or self.Worker(name)
        else:
            worker = self._worker(name)
        told = {
            key: value for key, value in event.items() if key in self.Worker._fields and key != "hostname"
        }
        worker.event(subject, event["timestamp"], event.get("local_received"), told)
        if is_new and subject != "offline" and self.on_node_join is not None:
            self.on_node_join(worker)
        if subject == "offline" and self.on_node_leave is not None:
            self.on_node_leave(worker)
        return worker, is_new

    def _task_event(self, subject: str, event: Fields) -> tuple[TaskSeen, bool] | None:
        uuid = event.get("uuid")
        if uuid is None or "timestamp" not in event:
            return None
        task = self.tasks.get(uuid)
        is_new = task is None
        if task is None:
            task = self.tasks[uuid] = self.Task(uuid, cluster_state=self)
        self.tasks.move_to_end(uuid)
        while len(self.tasks) > self.max_tasks_in_memory:
            self.tasks.popitem(last=False)
        hostname = event.get("hostname")
        if subject == "sent":
            task.client = hostname
        elif hostname is not None:
            worker = self._worker(hostname)
            task.worker = worker
            if event.get("local_received"):
                worker.event("", event["timestamp"], event["local_received"])
        if subject == "received":
            self.task_count += 1
        told = {
            key: value
            for key, value in event.items()
            if key not in ("type", "hostname", "utcoffset", "pid", "uuid", "timestamp", "local_received")
        }
        task.event(subject, event["timestamp"], event.get("local_received"), told)
        if task.name:
            self._seen_types.add(task.name)
        parent = self.tasks.get(getattr(task, "parent_id", None) or "")
        if parent is not None:
            parent.child_ids[uuid] = None
        return task, is_new

    def _worker(self, name: str) -> WorkerSeen:
        worker = self.workers.get(name)
        if worker is None:
            worker = self.workers[name] = self.Worker(name)
        self.workers.move_to_end(name)
        while len(self.workers) > self.max_workers_in_memory:
            self.workers.popitem(last=False)
        return worker

    def get_or_create_worker(self, hostname: str, **fields: Any) -> tuple[WorkerSeen, bool]:
        """(worker, whether it is new)"""
        is_new = hostname not in self.workers
        worker = self._worker(hostname)
        worker.update(fields)
        return worker, is_new

    def get_or_create_task(self, uuid: str) -> tuple[TaskSeen, bool]:
        """(task, whether it is new)"""
        is_new = uuid not in self.tasks
        if is_new:
            self.tasks[uuid] = self.Task(uuid, cluster_state=self)
        return self.tasks[uuid], is_new

    # -- looking

    def itertasks(self, limit: int | None = None) -> Iterator[tuple[str, TaskSeen]]:
        """(id, task), at most so many."""
        for index, item in enumerate(list(self.tasks.items())):
            if limit and index >= limit:
                return
            yield item

    def tasks_by_time(self, limit: int | None = None, reverse: bool = True) -> Iterator[tuple[str, TaskSeen]]:
        """(id, task), the newest first."""
        ordered = sorted(
            self.tasks.values(), key=lambda task: (task.clock or 0, task.timestamp or 0.0), reverse=reverse
        )
        for task in ordered[:limit] if limit else ordered:
            yield task.uuid or "", task

    tasks_by_timestamp = tasks_by_time

    def _tasks_by_type(
        self, name: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, TaskSeen]]:
        """(id, task) of all calls of one task, the newest first."""
        found = ((id, task) for id, task in self.tasks_by_time(reverse=reverse) if task.name == name)
        return _first(found, limit)

    def _tasks_by_worker(
        self, hostname: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, TaskSeen]]:
        """(id, task) of all that one worker has received, the newest first."""
        found = (
            (id, task)
            for id, task in self.tasks_by_time(reverse=reverse)
            if task.worker is not None and task.worker.hostname == hostname
        )
        return _first(found, limit)

    @property
    def tasks_by_type(self) -> _Chosen:
        """`state.tasks_by_type("shop.pay")`, or by the key of that name."""
        return _Chosen(self._tasks_by_type)

    @property
    def tasks_by_worker(self) -> _Chosen:
        """The same by the name of a worker."""
        return _Chosen(self._tasks_by_worker)

    def task_types(self) -> list[str]:
        """The names of all tasks that were heard of, sorted."""
        return sorted(self._seen_types)

    def alive_workers(self) -> list[WorkerSeen]:
        return [worker for worker in self.workers.values() if worker.alive]

    @property
    def _taskheap(self) -> list[TimedTask]:
        return [
            TimedTask(task.clock or 0, task.timestamp or 0.0, task.origin or "", ref(task))
            for _, task in self.tasks_by_time(reverse=False)
        ]

    def rebuild_taskheap(self, timetuple: object = None) -> None:
        """Nothing: the order is made when somebody asks for it."""

    # -- keeping

    @contextmanager
    def freeze_while(self, fun: Callable[..., Any] | None = None) -> Iterator[Self]:
        """Inside, nothing changes."""
        with self._mutex:
            yield self

    def clear(self, ready: bool = True) -> None:
        """Forget workers and tasks, of these with `ready` also those that have not ended."""
        with self._mutex:
            self.workers.clear()
            self._clear_tasks(ready)
            self.event_count = 0
            self.task_count = 0

    def clear_tasks(self, ready: bool = True) -> None:
        """Forget tasks; not those that have not ended, unless `ready`."""
        with self._mutex:
            self._clear_tasks(ready)

    def _clear_tasks(self, ready: bool) -> None:
        kept = {} if ready else {id: task for id, task in self.tasks.items() if not task.ready}
        self.tasks.clear()
        self.tasks.update(kept)

    def __getstate__(self) -> dict[str, Any]:
        kept = dict(self.__dict__)
        for name in ("_mutex", "event_callback", "on_node_join", "on_node_leave", "handlers"):
            kept.pop(name)
        return kept

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self.__dict__.update(kept)
        self.event_callback = self.on_node_join = self.on_node_leave = None
        self.handlers = {}
        self._mutex = threading.RLock()
        for task in self.tasks.values():
            task.cluster_state = self

    def __repr__(self) -> str:
        return f"<State: events={self.event_count} tasks={self.task_count}>"


class _Chosen:
    """Asked by a call or by a key."""

    def __init__(self, choose: Callable[..., Iterator[tuple[str, Task]]]) -> None:
        self._choose = choose

    def __call__(
        self, name: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, Task]]:
        return self._choose(name, limit, reverse)

    def __getitem__(self, name: str) -> list[Task]:
        return [task for _, task in self._choose(name)]

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] or default


def _first(found: Iterator[tuple[str, Task]], limit: int | None) -> Iterator[tuple[str, Task]]:
    for index, item in enumerate(found):
        if limit and index >= limit:
            return
        yield item


def as_datetime(timestamp: float) -> datetime:
    """For those who show it."""
    return datetime.fromtimestamp(timestamp, UTC).astimezone()
