"""What `app.schedules` does: plans in the store are read, changed and looked at."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Protocol

import msgspec

from celeriac import signals, states
from celeriac.clock import Clock
from celeriac.config import Settings
from celeriac.exceptions import CeleriacError, EncodeError, ImproperlyConfigured
from celeriac.message import Message
from celeriac.nearest import nearest
from celeriac.planned import Change, Plan
from celeriac.planning import Occurred, Planned
from celeriac.ports import ResultStore, ScheduleStore
from celeriac.schedules import judging
from celeriac.schedules.base import BaseSchedule
from celeriac.schedules.entry import (
    DECLARED,
    BeatLazyFunc,
    Entry,
    entry_of,
    read_entry,
    shown_spec,
    spec_of,
    text_of,
)
from celeriac.sending import Sender, compose, must_fit, tell_after, told_before
from celeriac.wire.compression import in_units
from celeriac.wire.result import decode_result

#: How often a change is tried again when the plan was moved meanwhile. Nobody moves one so often.
TRIES = 20

#: Of the parent of a fork: its connections are neither used nor closed here.
_inherited: list[Any] = []


class App(Sender, Protocol):
    """What schedules ask of their app."""

    @property
    def conf(self) -> Settings: ...

    @property
    def time(self) -> Clock: ...

    @property
    def timezone(self) -> tzinfo: ...

    @property
    def tasks(self) -> Mapping[str, Any]: ...

    @property
    def results(self) -> ResultStore | None: ...

    def open_schedules(self) -> ScheduleStore: ...


class KeptSchedules:
    """See `celeriac.planning.Schedules`."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._store: ScheduleStore | None = None
        self._pid = 0

    # --- changing -----------------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        task: Any,
        schedule: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        replace: bool = False,
        **said: Any,
    ) -> Planned:
        entry = read_entry(
            name, {"task": task, "schedule": schedule, "args": args, "kwargs": kwargs or {}, **said}
        )
        self._refuse_static(name)
        self._check_arguments(entry)
        spec = self._storable(entry)

        def make(old: Plan | None) -> Plan:
            if old is not None and old.spec != spec and not replace:
                raise ValueError(f"there is a schedule {name!r} already: update it, or say replace=True")
            return self._fresh(entry, spec, old)

        return self._shown(self._write(name, make), {})

    def update(self, name: str, **changes: Any) -> Planned:
        self._refuse_static(name)

        def make(old: Plan | None) -> Plan:
            entry = entry_of(name, self._there(name, old).spec)
            was = {word: getattr(entry, word) for word in Entry.__struct_fields__}
            del was["name"], was["static"]
            newer = read_entry(name, {**was, **changes})
            self._check_arguments(newer)
            return self._fresh(newer, self._storable(newer), old)

        return self._shown(self._write(name, make), {})

    def pause(self, name: str) -> Planned:
        return self._set_paused(name, paused=True)

    def resume(self, name: str) -> Planned:
        return self._set_paused(name, paused=False)

    def trigger(self, name: str) -> str:
        declared = declared_entries(self._app)
        sent: list[Message] = []

        def change(old: Plan | None) -> Change:
            plan, entry = self._plan_and_entry(name, old, declared)
            message, now = message_of(self._app, entry), _ms(self._app.time())
            sent[:] = [message]
            return Change(
                msgspec.structs.replace(plan, last_id=message.id),
                (message,),
                (note(now, now, "triggered", message.id),),
            )

        self._change(name, change)
        told(sent[0])
        return sent[0].id

    def remove(self, name: str) -> None:
        self._refuse_static(name)
        if not self.store.remove([name]):
            self._there(name, None)

    # --- looking ------------------------------------------------------------------------------------------

    def list(self) -> list[Planned]:
        declared = declared_entries(self._app)
        plans = {plan.name: plan for plan in self.store.plans() if plan.name != DECLARED}
        for name, entry in declared.items():
            if name not in plans:
                plans[name] = self._fresh(entry, shown_spec(entry), None)
        return [self._shown(plan, declared) for _, plan in sorted(plans.items())]

    def get(self, name: str) -> Planned:
        declared = declared_entries(self._app)
        plan, _ = self._plan_and_entry(name, self._read(name), declared)
        return self._shown(plan, declared)

    def next(self, name: str, n: int = 5) -> Sequence[datetime]:
        planned = self.get(name)
        _, entry = self._plan_and_entry(name, self._read(name), declared_entries(self._app))
        zone = entry.zone(self._app.timezone)
        if not entry.is_known or judging.is_asked(entry.schedule):
            return [planned.next] if planned.next else []
        found: list[datetime] = []
        occurrence = _ms(planned.next.timestamp()) if planned.next else 0
        left = n if entry.max_runs is None else min(n, entry.max_runs - planned.runs)
        while occurrence and len(found) < left:
            found.append(datetime.fromtimestamp(occurrence / 1000, zone))
            occurrence = judging.following(entry, occurrence, zone)
        return found

    def history(self, name: str, n: int = 20) -> Sequence[Occurred]:
        return [_occurred(packed, self._app.timezone) for packed in self.store.history(name, n)]

    def leader(self) -> str:
        return self.store.leader()

    # --- its store ----------------------------------------------------------------------------------------

    @property
    def store(self) -> ScheduleStore:
        """This process's connection; opened when it is first needed."""
        if self._pid != os.getpid():
            if self._store is not None:
                _inherited.append(self._store)
            self._store, self._pid = None, os.getpid()
        if self._store is None:
            self._store = self._app.open_schedules()
        return self._store

    def close(self) -> None:
        """May be called twice; the next use opens it again."""
        store, self._store = self._store, None
        if store is not None and self._pid == os.getpid():
            store.close()

    # --- inside -------------------------------------------------------------------------------------------

    def _read(self, name: str) -> Plan | None:
        return next(iter(self.store.plans([name])), None) if name != DECLARED else None

    def _there(self, name: str, plan: Plan | None) -> Plan:
        if plan is not None:
            return plan
        known = {one.name for one in self.store.plans()} | set(declared_entries(self._app))
        near = nearest(name, sorted(known - {DECLARED}))
        raise KeyError(
            f"there is no schedule {name!r}"
            + (f": did you mean {near!r}?" if near else "; see `schedule list`")
        )

    def _plan_and_entry(
        self, name: str, plan: Plan | None, declared: Mapping[str, Entry]
    ) -> tuple[Plan, Entry]:
        """What lies there, or what code declares and no scheduler has seen yet."""
        entry = declared.get(name)
        if plan is None and entry is not None:
            plan = self._fresh(entry, shown_spec(entry), None)
        plan = self._there(name, plan)
        return plan, entry if entry is not None else entry_of(name, plan.spec)

    def _storable(self, entry: Entry) -> str:
        spec, most = _storable(entry), self._app.conf.task_max_bytes
        if len(spec) > most:
            raise EncodeError(
                f"the periodic task {entry.name!r} has {in_units(len(spec))}, more than task_max_bytes "
                f"({in_units(most)}); store the data elsewhere and let it be sent where it is"
            )
        return spec

    def _fresh(self, entry: Entry, spec: str, old: Plan | None) -> Plan:
        return fresh_plan(self._app, entry, spec, old)

    def _set_paused(self, name: str, *, paused: bool) -> Planned:
        declared = declared_entries(self._app)

        def make(old: Plan | None) -> Plan:
            plan, entry = self._plan_and_entry(name, old, declared)
            changed = msgspec.structs.replace(plan, paused=paused)
            if paused or not plan.paused:
                return judging.planned(entry, changed, plan.occurrence)
            zone = entry.zone(self._app.timezone)
            return judging.planned(entry, changed, judging.first(entry, self._app.time(), zone, plan.runs))

        return self._shown(self._write(name, make), declared)

    def _write(self, name: str, make: Any) -> Plan:
        return self._change(name, lambda old: Change(make(old)))

    def _change(self, name: str, make: Any) -> Plan:
        """Read, make, write; again if somebody moved the plan between."""
        for _ in range(TRIES):
            change: Change = make(self._read(name))
            if self.store.write([change])[0]:
                return change.plan
        raise CeleriacError(f"the schedule {name!r} is changed by others all the time; it was left as it is")

    def _refuse_static(self, name: str) -> None:
        if name in declared_entries(self._app):
            raise ImproperlyConfigured(
                f"{name!r} is declared in code (beat_schedule, add_periodic_task): change it there; from "
                "here it can be paused, resumed and triggered"
            )

    def _check_arguments(self, entry: Entry) -> None:
        task = self._app.tasks.get(entry.task)
        if task is not None:
            task.check_arguments(entry.args, entry.kwargs)
        if not entry.overlap:
            check_overlap(self._app, entry)

    def _shown(self, plan: Plan, declared: Mapping[str, Entry]) -> Planned:
        entry = declared.get(plan.name) or entry_of(plan.name, plan.spec)
        zone = entry.zone(self._app.timezone)
        coming = plan.occurrence if plan.due else 0
        return Planned(
            name=plan.name,
            task=entry.task,
            schedule=text_of(entry.schedule),
            args=entry.args,
            kwargs=entry.kwargs,
            options=entry.options,
            next=_moment(coming, zone),
            last=_moment(plan.last if plan.runs else 0, zone),
            runs=plan.runs,
            paused=plan.paused,
            static=entry.static,
        )


def declared_entries(app: App) -> dict[str, Entry]:
    """The entries that code declares, by name."""
    app.tasks  # noqa: B018 - finalizes the app, and with it come periodic tasks
    declared = app.conf.beat_schedule or {}
    entries = {name: read_entry(name, said, static=True) for name, said in declared.items()}
    for entry in entries.values():
        rule = entry.schedule
        if isinstance(rule, BaseSchedule) and rule._app is None:
            rule.app = app  # or it would ask the current app for the time and its zone
    return entries


def fresh_plan(app: App, entry: Entry, spec: str, old: Plan | None) -> Plan:
    """The plan of a new or changed entry: one whose schedule is as before goes on where it is."""
    zone = entry.zone(app.timezone)
    if old is not None and _same_rule(entry, old):
        plan = msgspec.structs.replace(old, spec=spec)
        # One that was over may not be so any more: it may come more often now.
        occurrence = plan.occurrence or judging.first(entry, app.time(), zone, plan.runs)
    else:
        runs = {} if old is None else {"runs": old.runs, "last": old.last, "last_id": old.last_id}
        plan = Plan(entry.name, spec, version=0 if old is None else old.version, **runs)  # type: ignore[arg-type]
        occurrence = judging.first(entry, app.time(), zone, plan.runs)
    was = None if old is None else entry_of(old.name, old.spec).enabled
    # What was paused by hand stays so; `enabled` counts when it is said anew.
    paused = old.paused if old is not None and was == entry.enabled else not entry.enabled
    if old is not None and old.paused and not paused:
        occurrence = judging.first(entry, app.time(), zone, plan.runs)
    return judging.planned(entry, msgspec.structs.replace(plan, paused=paused), occurrence)


def _same_rule(entry: Entry, plan: Plan) -> bool:
    old = entry_of(plan.name, plan.spec)
    words = ("timezone", "start", "end")
    mine = entry.schedule if old.is_known else text_of(entry.schedule)
    return bool(mine == old.schedule) and all(getattr(old, word) == getattr(entry, word) for word in words)


def message_of(app: App, entry: Entry, occurrence: int = 0) -> Message:
    """The message of one occurrence, as everybody who listens wants it."""
    if not entry.is_known:
        raise ImproperlyConfigured(
            f"{entry.name!r} is declared in code that is not here: say -A with the app that declares it"
        )
    task = app.tasks.get(entry.task)
    args = tuple(_computed(entry.args))
    kwargs = dict(zip(entry.kwargs, _computed(entry.kwargs.values()), strict=True))
    if task is not None:
        task.check_arguments(args, kwargs)
    headers = {**(entry.options.get("headers") or {}), "celery_beat_task": True}
    if occurrence:
        headers["celeriac_scheduled"] = datetime.fromtimestamp(occurrence / 1000, UTC).isoformat()
    message = compose(app, entry.task, args, kwargs, {**entry.options, "headers": headers}, task)
    if signals.before_task_publish.receivers:
        message = must_fit(app, told_before(message, entry.task))
    return message


def told(message: Message) -> None:
    """Tell those who listen that it was sent."""
    if signals.after_task_publish.receivers or signals.task_sent.receivers:
        tell_after(message)


def note(occurrence: int, done: int, what: str, task_id: str = "") -> bytes:
    """A line of a plan's history."""
    return msgspec.json.encode((occurrence, done, what, task_id))


def check_overlap(app: App, entry: Entry) -> None:
    """ImproperlyConfigured if nobody could know whether the last one still runs."""
    task = app.tasks.get(entry.task)
    ignored = entry.options.get("ignore_result", getattr(task, "ignore_result", app.conf.task_ignore_result))
    if app.results is None or ignored:
        raise ImproperlyConfigured(
            f"the periodic task {entry.name!r} has overlap=False, which needs results to know that the last "
            "one has ended: set result_backend, and not ignore_result"
        )


def still_running(app: App, ids: Sequence[str]) -> set[str]:
    """Of these tasks the ones that have not ended."""
    results = app.results
    if results is None or not ids:
        return set()
    accept = app.conf.result_accept_content or app.conf.accept_content
    stored = zip(ids, results.load(list(ids)), strict=True)
    return {id for id, payload in stored if payload is None or not _is_end(payload, accept)}


def _is_end(payload: bytes, accept: Any) -> bool:
    try:
        return decode_result(payload, accept)["status"] in states.READY_STATES
    except CeleriacError:
        return True  # what nobody here can read is a value: states on the way have none


def _computed(values: Iterable[Any]) -> Iterable[Any]:
    return (value() if isinstance(value, BeatLazyFunc) else value for value in values)


def _storable(entry: Entry) -> str:
    try:
        return spec_of(entry)
    except EncodeError as error:
        raise ImproperlyConfigured(f"the periodic task {entry.name!r} cannot be stored: {error}") from error


def _occurred(packed: bytes, zone: tzinfo) -> Occurred:
    at, done, what, task_id = msgspec.json.decode(packed)
    return Occurred(
        datetime.fromtimestamp(at / 1000, zone), datetime.fromtimestamp(done / 1000, zone), what, task_id
    )


def _moment(milliseconds: int, zone: tzinfo) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, zone) if milliseconds else None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
