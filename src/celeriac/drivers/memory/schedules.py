"""Plans in this process, beside the messages of a memory store."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from celeriac.exceptions import Fenced, OperationalError
from celeriac.message import Message
from celeriac.planned import HISTORY, Change, Plan, Tick, changed


class Group(msgspec.Struct):
    """The plans of one group of schedulers, and who leads it."""

    plans: dict[str, Plan] = {}
    history: dict[str, deque[bytes]] = {}
    leader: str = ""
    #: The tick until which it leads.
    until: float = 0.0
    term: int = 0
    #: A heap of (due, name); what is no longer so is passed over.
    due: list[tuple[int, str]] = []


class Store(Protocol):
    """What it needs of a memory store."""

    planned: dict[str, Group]

    @property
    def lock(self) -> AbstractContextManager[Any]: ...

    def ticks(self) -> float: ...

    def add(self, messages: Iterable[Message]) -> None: ...


class MemorySchedules:
    """See `celeriac.ports.ScheduleStore`."""

    def __init__(self, store: Store, group: str) -> None:
        self._store = store
        self._name = group
        self._closed = False

    def tick(self, scheduler: str, lease: float, now: int, most: int) -> Tick:
        with self._store.lock:
            group, ticks = self._group(), self._store.ticks()
            if group.leader != scheduler or group.until <= ticks:
                if group.until > ticks:
                    return Tick(0, [])
                group.leader = scheduler
                group.term += 1
            group.until = ticks + lease
            plans: list[Plan] = []
            while (first := self._first(group)) is not None and first.due <= now and len(plans) < most:
                plans.append(first)
                heapq.heappop(group.due)
            for plan in plans:  # until it is written it stays due
                heapq.heappush(group.due, (plan.due, plan.name))
            return Tick(group.term, plans, first.due if first is not None else 0)

    def write(self, changes: Sequence[Change], scheduler: str = "", term: int = 0) -> list[bool]:
        with self._store.lock:
            group = self._group()
            if scheduler and (
                group.leader != scheduler or group.term != term or group.until <= self._store.ticks()
            ):
                raise Fenced(scheduler)
            return [self._make(group, change) for change in changes]

    def remove(self, names: Sequence[str]) -> int:
        with self._store.lock:
            group = self._group()
            for name in names:
                group.history.pop(name, None)
            return sum(group.plans.pop(name, None) is not None for name in names)

    def plans(self, names: Sequence[str] | None = None) -> list[Plan]:
        with self._store.lock:
            plans = self._group().plans
            return [plans[name] for name in sorted(plans if names is None else set(names) & set(plans))]

    def history(self, name: str, n: int) -> list[bytes]:
        with self._store.lock:
            return list(self._group().history.get(name, ()))[: max(n, 0)]

    def leader(self) -> str:
        with self._store.lock:
            group = self._group()
            return group.leader if group.until > self._store.ticks() else ""

    def resign(self, scheduler: str) -> None:
        with self._store.lock:
            group = self._group()
            if group.leader == scheduler:
                group.until = 0.0

    def close(self) -> None:
        self._closed = True

    def _group(self) -> Group:
        if self._closed:
            raise OperationalError("These schedules in memory:// were closed before")
        return self._store.planned.setdefault(self._name, Group())

    def _first(self, group: Group) -> Plan | None:
        while group.due:
            due, name = group.due[0]
            plan = group.plans.get(name)
            if plan is not None and plan.due == due:
                return plan
            heapq.heappop(group.due)
        return None

    def _make(self, group: Group, change: Change) -> bool:
        plan = change.plan
        known = group.plans.get(plan.name)
        if (known.version if known is not None else 0) != plan.version:
            return False
        group.plans[plan.name] = changed(plan)
        if plan.due and (known is None or known.due != plan.due):
            heapq.heappush(group.due, (plan.due, plan.name))
        self._store.add(change.messages)
        if change.notes:
            history = group.history.setdefault(plan.name, deque(maxlen=HISTORY))
            history.extendleft(change.notes)
        return True
