"""An entry: what is called by a schedule, and how strictly. As code has it, and as a store keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any, Literal, cast, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from celeriac.exceptions import EncodeError, ImproperlyConfigured
from celeriac.nearest import nearest
from celeriac.schedules.base import BaseSchedule
from celeriac.schedules.crontab import crontab
from celeriac.schedules.interval import maybe_schedule, schedule
from celeriac.schedules.moment import once
from celeriac.schedules.sun import solar
from celeriac.schedules.zones import moment_of
from celeriac.wire import codecs

#: The name of the plan that keeps which names code has declared, for the next leader to see which are gone.
DECLARED = ""

#: What becomes of occurrences that nobody sent in time: dropped, the last one sent, or all of them.
CatchUp = Literal["none", "last", "all"]


class BeatLazyFunc:
    """An argument computed anew for each message: `args=(BeatLazyFunc(date.today),)`. In code only."""

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._func = func
        self._func_params = {"args": args, "kwargs": kwargs}

    def __call__(self) -> Any:
        return self.delay()

    def delay(self) -> Any:
        """Its value now."""
        return self._func(*self._func_params["args"], **cast(Any, self._func_params["kwargs"]))


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One periodic call."""

    name: str
    task: str
    #: A schedule; or, where a store could not keep the schedule itself, how it shows itself.
    schedule: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    #: Of apply_async.
    options: dict[str, Any] = {}
    #: Of occurrences that were missed, because no scheduler ran.
    catch_up: CatchUp = "last"
    #: Seconds after which an occurrence that was not sent is dropped.
    deadline: float | None = None
    #: Each message is sent up to so many seconds later, so that entries of one moment spread.
    jitter: float = 0.0
    #: Not before, and not after.
    start: datetime | None = None
    end: datetime | None = None
    #: Occurrences in all.
    max_runs: int | None = None
    #: False: none is sent while the last one runs (or waits). Needs results.
    overlap: bool = True
    enabled: bool = True
    #: Whose wall clock counts; None is the app's.
    timezone: str | None = None
    #: Declared in code: it can be paused and triggered from outside, but not changed.
    static: bool = False

    @property
    def is_known(self) -> bool:
        """Whether its schedule and arguments are there, not only how they show themselves."""
        return not isinstance(self.schedule, str)

    def zone(self, default: tzinfo) -> tzinfo:
        return ZoneInfo(self.timezone) if self.timezone else default


_WORDS = tuple(name for name in Entry.__struct_fields__ if name not in ("name", "static"))


def read_entry(name: str, said: Mapping[str, Any], static: bool = False) -> Entry:
    """From a dict such as `beat_schedule` holds. What cannot be meant is refused with the cure."""
    if name == DECLARED:
        raise ImproperlyConfigured("a periodic task needs a name")
    if not isinstance(said, Mapping):
        raise ImproperlyConfigured(
            f"the periodic task {name!r} is a dict with 'task' and 'schedule', not {said!r}"
        )
    said = dict(said)
    relative = said.pop("relative", False)
    expires = said.pop("expires", None)
    for word in said:
        if word not in _WORDS:
            near = nearest(str(word), (*_WORDS, "relative", "expires"))
            hint = f"did you mean {near!r}?" if near else "options of apply_async stand in 'options'"
            raise ImproperlyConfigured(f"the periodic task {name!r} has no {word!r}: {hint}")
    for word in ("task", "schedule"):
        if said.get(word) is None:
            raise ImproperlyConfigured(f"the periodic task {name!r} needs {word!r}")
    task = said["task"]
    said["task"] = task if isinstance(task, str) else task.name
    try:
        said["schedule"] = maybe_schedule(said["schedule"], relative)
    except (TypeError, ValueError, OverflowError) as error:
        raise ImproperlyConfigured(f"the periodic task {name!r}: {error}") from None
    args = said.get("args")
    if args is not None and (isinstance(args, str | bytes) or not isinstance(args, Iterable)):
        raise ImproperlyConfigured(
            f"the periodic task {name!r}: args is a tuple or a list, not {args!r}; that of one value is "
            f"({args!r},)"
        )
    for word in ("kwargs", "options"):
        if not isinstance(said.get(word) or {}, Mapping):
            raise ImproperlyConfigured(f"the periodic task {name!r}: {word} is a dict, not {said[word]!r}")
    said["args"] = tuple(said.get("args") or ())
    said["kwargs"] = dict(said.get("kwargs") or {})
    said["options"] = dict(said.get("options") or {})
    if expires is not None:
        said["options"]["expires"] = expires
    for word in ("deadline", "jitter"):
        if isinstance(said.get(word), timedelta):
            said[word] = said[word].total_seconds()
    entry = Entry(name=name, static=static, **said)
    _check(entry)
    return entry


def _check(entry: Entry) -> None:
    def refuse(words: str) -> None:
        raise ImproperlyConfigured(f"the periodic task {entry.name!r}: {words}")

    every = entry.schedule
    if isinstance(every, schedule) and every.run_every <= timedelta(0):
        refuse(f"an interval is longer than 0 seconds, not {every.run_every.total_seconds():g}")
    if entry.catch_up not in get_args(CatchUp):
        refuse(f"catch_up is none, last or all, not {entry.catch_up!r}")
    for word in ("deadline", "jitter"):
        value = getattr(entry, word)
        if value is not None and (not isinstance(value, int | float) or value < 0):
            refuse(f"{word} is a number of seconds from 0 up, not {value!r}")
    runs: Any = entry.max_runs
    if runs is not None and (not isinstance(runs, int) or runs < 1):
        refuse(f"max_runs is a whole number from 1 up, not {runs!r}")
    for word in ("start", "end"):
        if not isinstance(getattr(entry, word), datetime | None):
            refuse(f"{word} is a datetime, not {getattr(entry, word)!r}")
    if entry.timezone is not None:
        try:
            ZoneInfo(entry.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            refuse(f"{entry.timezone!r} is no time zone; they are named as Europe/Berlin")


# --- in a store -------------------------------------------------------------------------------------------

#: The values that need not be said.
_DEFAULTS = {
    name: getattr(Entry(name="", task="", schedule=""), name)
    for name in Entry.__struct_fields__
    if name not in ("name", "task", "schedule")
}


def spec_of(entry: Entry) -> str:
    """The entry as JSON. EncodeError if it can only live in code."""
    said = {
        name: getattr(entry, name) for name, default in _DEFAULTS.items() if getattr(entry, name) != default
    }
    rule = entry.schedule
    if type(rule) not in (crontab, schedule, once, solar):
        raise EncodeError(
            f"a {type(rule).__name__} lives in code only: declare {entry.name!r} in beat_schedule"
        )
    said |= {"task": entry.task, "schedule": rule.__json__()}
    _, _, text = codecs.encode(said, "json")
    return text.decode()


def shown_spec(entry: Entry) -> str:
    """As much of a static entry as others can be shown of it."""
    try:
        return spec_of(entry)
    except EncodeError:
        shown = msgspec.structs.replace(entry, args=tuple(map(repr, entry.args)), options={})
        kwargs = {key: repr(value) for key, value in entry.kwargs.items()}
        said = {"task": entry.task, "schedule": {"shown": text_of(entry.schedule)}, "args": shown.args}
        _, _, text = codecs.encode({**said, "kwargs": kwargs, "static": True}, "json")
        return text.decode()


def entry_of(name: str, spec: str) -> Entry:
    """What spec_of wrote."""
    said = codecs.loads_json(spec.encode())
    static = said.pop("static", False)
    rule = said.pop("schedule")
    said["args"] = tuple(said.get("args", ()))
    return Entry(name=name, schedule=schedule_of(rule), static=static, **said)


def schedule_of(rule: Mapping[str, Any]) -> BaseSchedule | str:
    """From what `__json__` of a schedule gave."""
    match rule:
        case {"crontab": str(text)}:
            return crontab.from_string(text)
        case {"every": seconds, **more}:
            return schedule(seconds, relative=bool(more.get("relative")))
        case {"solar": [event, lat, lon]}:
            return solar(event, lat, lon)
        case {"once": str(text)}:
            return once(text)
        case {"shown": str(text)}:
            return text
    raise ValueError(f"{rule!r} is no schedule that this celeriac knows")


def text_of(rule: Any) -> str:
    """A schedule in one short line."""
    match rule:
        case crontab():
            return rule.text
        case schedule():
            return f"every {rule.human_seconds if rule.seconds >= 1 else f'{rule.seconds:g} seconds'}"
        case once():
            return f"once at {rule.at.isoformat(sep=' ')}"
        case solar():
            return f"{rule.event} at {rule.lat}, {rule.lon}"
    if getattr(type(rule), "__repr__", None) is not object.__repr__:
        return str(rule)
    # Not where it lies in memory: by this text the next scheduler knows that it is the same.
    state = {
        name: value
        for name, value in getattr(rule, "__dict__", {}).items()
        if name not in ("nowfun", "_app", "tz")
    }
    return f"{type(rule).__name__} {state or ''}".rstrip()


def epoch_of(moment: datetime, zone: tzinfo) -> float:
    """Epoch seconds of a start or an end; without an offset it is of the entry's zone."""
    return moment.timestamp() if moment.tzinfo is not None else moment_of(moment, zone)
