"""Which queue a task goes to.

    task_routes = {"mail.*": "mail", "shop.pay": {"queue": "money", "priority": 0}}

What the call says wins over the task's own attributes, and those over `task_routes`, as in Celery; the rest
goes to the default queue. Without functions in `task_routes` each way is worked out once: sending asks here
every time. Exchanges exist here alone: what is sent to one goes to the queues that are bound to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from typing import Any, NamedTuple, Protocol

import msgspec

from celeriac.config import Settings
from celeriac.exceptions import ImproperlyConfigured, QueueNotFound
from celeriac.importing import import_named
from celeriac.message import Binding
from celeriac.queues import Queue, check_queue_name, fits, name_of, reached_by, read_queues

#: Names remembered; whoever makes up more of them pays for the look-up again.
_MOST_REMEMBERED = 10_000
#: The exchange of the queues by `worker_direct`, as in Celery.
DIRECT_EXCHANGE = "C.dq2"
#: What a call may say about its way.
_WAY = ("queue", "exchange", "routing_key", "priority")

_Args = Sequence[Any]
_Kwargs = Mapping[str, Any]
_Found = Mapping[str, Any] | None
#: (name, args, kwargs, options, task) -> options of the route, or None: not mine.
_Rule = Callable[[str, _Args, _Kwargs, Mapping[str, Any], Any], _Found]
_NOTHING: dict[str, Any] = {}


class Route(msgspec.Struct, frozen=True):
    """Where a message goes, and what else its route says."""

    queue: str
    exchange: str
    routing_key: str
    #: 0 goes first.
    priority: int
    #: All other options of the route (serializer, expires, ...): under those of the call, over the task's.
    options: dict[str, Any] = {}
    #: Not None: each of these queues gets a copy, in place of `queue`.
    copies: tuple[str, ...] | None = None
    #: It goes to a fanout exchange, which others may listen to.
    is_fanout: bool = False
    #: The store was asked for it: the next call may go elsewhere.
    is_for_now: bool = False


class Served(NamedTuple):
    """What a worker serves, and by which exchanges it is reached."""

    queues: list[str]
    lasting: list[Binding]
    #: Only as long as it lives.
    living: list[Binding]


class Routable(Protocol):
    """What a task says about its way; None leaves it to others."""

    @property
    def queue(self) -> Any: ...
    @property
    def exchange(self) -> Any: ...
    @property
    def routing_key(self) -> Any: ...
    @property
    def priority(self) -> Any: ...


class Router:
    """Finds the route of each task by the settings; a change of them counts from the next call on.

    `bound` tells what the store knows of an exchange that is not declared here, or of a broadcast.
    """

    def __init__(
        self, settings: Settings, bound: Callable[[str], Sequence[Binding]] = lambda exchange: ()
    ) -> None:
        self._settings = settings
        self._bound_in_store = bound
        self._read_settings()

    def route(
        self,
        name: str,
        args: _Args = (),
        kwargs: _Kwargs = _NOTHING,
        options: Mapping[str, Any] = _NOTHING,
        task: Routable | None = None,
    ) -> Route:
        """The route of this call. ValueError for an impossible queue, QueueNotFound for one not allowed."""
        if self._version != self._settings.version:
            self._read_settings()
        if self._asks_functions:
            return self._find(name, args, kwargs, options, task)
        get = options.get
        key: Any = (name, get("queue"), get("exchange"), get("routing_key"), get("priority"))
        if task is not None:
            key = (key, task.queue, task.exchange, task.routing_key, task.priority)
        try:
            route = self._remembered.get(key)
        except TypeError:  # an object that cannot be a key: it is judged below
            return self._find(name, args, kwargs, options, task)
        if route is None:
            route = self._find(name, args, kwargs, options, task)
            if not route.is_for_now:
                if len(self._remembered) >= _MOST_REMEMBERED:
                    self._remembered.clear()
                self._remembered[key] = route
        return route

    @property
    def asks_functions(self) -> bool:
        """A call's route depends on more than its task and the settings."""
        if self._version != self._settings.version:
            self._read_settings()
        return self._asks_functions

    def said(
        self, name: str, args: _Args, kwargs: _Kwargs, options: Mapping[str, Any], task: Any = None
    ) -> Mapping[str, Any]:
        """What task_routes alone says of this call."""
        if self._version != self._settings.version:
            self._read_settings()
        return self._ask_rules(name, args, kwargs, options, task)

    def consumed(self, chosen: Iterable[str] | None = None, excluded: Iterable[str] = ()) -> list[str]:
        """The queues that a worker serves: those chosen (-Q) or all declared, without the excluded (-X)."""
        if self._version != self._settings.version:
            self._read_settings()
        names = list(self.queues) if chosen is None else list(dict.fromkeys(chosen))
        for name in names:
            self._admit(name)
        left_out = set(excluded)
        return [name for name in names if name not in left_out]

    def served(self, chosen: Iterable[str] | None, excluded: Iterable[str], node: str) -> Served:
        """The same for the worker of this name, which may have queues of its own too: for broadcasts, and by
        worker_direct."""
        queues: list[str] = []
        lasting: list[Binding] = []
        living: list[Binding] = []
        for name in self.consumed(chosen, excluded):
            declared = self.queues.get(name)
            if declared is None or not declared.broadcast:
                queues.append(name)
                lasting += declared.bindings if declared is not None else ()
                continue
            own = f"bcast.{name}.{node}"
            queues.append(own)
            living += [Binding(one.exchange, own, one.key, one.kind) for one in declared.bindings]
        if self._settings.worker_direct:
            direct = f"{node}.dq2"
            queues.append(direct)
            lasting.append(Binding(DIRECT_EXCHANGE, direct, node))
        return Served(queues, lasting, living)

    def _read_settings(self) -> None:
        settings = self._settings
        self._version = settings.version
        self._default = str(settings.task_default_queue)
        self._may_create = settings.task_create_missing_queues
        self._default_key: str = settings.task_default_routing_key or self._default
        self._default_priority: int | None = settings.task_default_priority
        #: The declared queues by name; the default queue alone if none is declared.
        self.queues: dict[str, Queue] = read_queues(settings.task_queues) or {
            self._default: Queue(
                self._default,
                settings.task_default_exchange or "",
                settings.task_default_routing_key or "",
                settings.task_default_exchange_type,
            )
        }
        self._rules = _read_rules(settings.task_routes)
        self._asks_functions = any(not isinstance(rule, _Table) for rule in self._rules)
        self._remembered: dict[Any, Route] = {}
        #: The route that was found last holds for that moment only.
        self._asked_store = False

    def _find(
        self, name: str, args: _Args, kwargs: _Kwargs, options: Mapping[str, Any], task: Routable | None
    ) -> Route:
        found = self._ask_rules(name, args, kwargs, options, task)
        # Who is heard first; the order of the three stands only here.
        voices = (options, {word: getattr(task, word, None) for word in _WAY}, found)
        said = _place(voices)
        self._asked_store = False
        named = _queue_name(said["queue"])
        bound = self._bound(said) if named is None else ()
        queues = bound or (named or self._default,)
        for queue in queues:
            self._admit(queue)
        declared = self.queues.get(queues[0])
        exchange = name_of(said["exchange"]) or (declared.exchange if declared else "")
        routing_key = said["routing_key"] or (declared.routing_key if declared else "")
        is_direct = declared is None or declared.exchange_type == "direct"
        if is_direct and not bound and not (said["exchange"] and said["routing_key"]):
            # By its name, which is what Celery puts into its messages then: programs read the queue in
            # `request.delivery_info["routing_key"]`.
            exchange, routing_key = "", queues[0]
        copies = queues if len(queues) > 1 else None
        if declared is not None and declared.broadcast:
            copies = tuple(one.queue for one in self._live(exchange))
        return Route(
            queues[0],
            # A direct queue is reached by its name alone; that is what Celery puts into its messages too.
            "" if exchange == queues[0] and copies is None else exchange,
            str(routing_key or (self._default_key if declared and declared.broadcast else queues[0])),
            _priority(_first(*(voice.get("priority") for voice in voices), self._default_priority, 0)),
            {word: value for word, value in found.items() if word not in _WAY},
            copies,
            declared is not None and declared.exchange_type == "fanout",
            self._asked_store,
        )

    def _ask_rules(
        self, name: str, args: _Args, kwargs: _Kwargs, options: Mapping[str, Any], task: Any
    ) -> Mapping[str, Any]:
        for rule in self._rules:
            found = rule(name, args, kwargs, options, task)
            if found is not None:
                return found
        return _NOTHING

    def _bound(self, said: Mapping[str, Any]) -> tuple[str, ...]:
        """The queues that an exchange or routing key without a queue means."""
        exchange, key = name_of(said["exchange"]), said["routing_key"]
        if not exchange and not key:
            return ()
        bindings: Sequence[Binding] = [one for queue in self.queues.values() for one in reached_by(queue)]
        if exchange and all(one.kind == "topic" for one in bindings if one.exchange == exchange):
            # Not declared here, or a topic, to which others bind queues of their own.
            bindings = [*bindings, *self._live(exchange)]
        fitting = tuple(dict.fromkeys(one.queue for one in bindings if fits(one, exchange, key)))
        declared = self.queues.get(fitting[0]) if fitting else None
        is_fanout = declared is not None and declared.exchange_type == "fanout"
        # A key alone, or an exchange alone, means one queue; together they mean all that are bound so.
        return fitting if exchange and (key or is_fanout) else fitting[:1]

    def _live(self, exchange: str) -> Sequence[Binding]:
        self._asked_store = True
        return self._bound_in_store(exchange)

    def _admit(self, queue: str) -> None:
        if queue in self.queues:
            return
        check_queue_name(queue)
        if not self._may_create and queue != self._default:
            raise QueueNotFound(
                f"queue {queue!r} is not in task_queues ({', '.join(map(repr, self.queues))}), "
                "and task_create_missing_queues is off: declare it there, or turn that on"
            )


# --- task_routes ------------------------------------------------------------------------------------------


class _Table:
    """Names and patterns with their routes: exact names first, then the patterns in their order."""

    def __init__(self, entries: Iterable[tuple[Any, Any]]) -> None:
        self._names: dict[str, Mapping[str, Any]] = {}
        self._patterns: list[tuple[re.Pattern[str], Mapping[str, Any]]] = []
        for pattern, route in entries:
            options = _route_options(route, f"task_routes[{pattern!r}]")
            if options is None:
                continue
            if isinstance(pattern, re.Pattern):
                self._patterns.append((pattern, options))
            elif not isinstance(pattern, str):
                raise ImproperlyConfigured(f"task_routes: {pattern!r} is neither a name nor a pattern")
            elif set(pattern) & set("*?["):
                self._patterns.append((re.compile(translate(pattern)), options))
            else:
                self._names[pattern] = options

    def __call__(
        self, name: str, args: _Args, kwargs: _Kwargs, options: Mapping[str, Any], task: Any
    ) -> _Found:
        route = self._names.get(name)
        if route is not None:
            return route
        return next((route for pattern, route in self._patterns if pattern.match(name)), None)


def _read_rules(routes: Any) -> list[_Rule]:
    """task_routes: a dict, a list of pairs, a function or its import path, or a list of any of these."""
    if not routes:
        return []
    if isinstance(routes, list | tuple):
        rules: list[_Rule] = []
        pairs: list[tuple[Any, Any]] = []
        for entry in routes:
            if _is_pair(entry):
                pairs.append((entry[0], entry[1]))
                continue
            if pairs:
                rules.append(_Table(pairs))
                pairs = []
            rules.extend(_read_rules(entry))
        return [*rules, _Table(pairs)] if pairs else rules
    if isinstance(routes, str):
        return _read_rules(import_named(routes, "task_routes"))
    if isinstance(routes, Mapping):
        return [_Table(routes.items())]
    return [_function_rule(routes)]


def _is_pair(entry: Any) -> bool:
    return (
        isinstance(entry, list | tuple)
        and len(entry) == 2
        and isinstance(entry[0], str | re.Pattern)
        and (isinstance(entry[1], str | Mapping) or hasattr(entry[1], "name"))
    )


def _function_rule(function: Any) -> _Rule:
    older = getattr(function, "route_for_task", None)
    if older is not None:
        return lambda name, args, kwargs, options, task: _route_options(
            older(name, args, kwargs), f"{function!r}.route_for_task"
        )
    if not callable(function):
        raise ImproperlyConfigured(f"task_routes: {function!r} is neither a table nor a function")
    return lambda name, args, kwargs, options, task: _route_options(
        function(name, args, kwargs, dict(options), task=task), f"task_routes: what {function!r} returned"
    )


def _route_options(route: Any, place: str) -> _Found:
    """A route as options: a name alone is a queue; a dict may say more."""
    if route is None or isinstance(route, Mapping):
        return route or None
    if isinstance(route, str) or hasattr(route, "name"):
        return {"queue": route}
    raise ImproperlyConfigured(f"{place} is a queue or a dict of options, not {route!r}")


# --- small words ------------------------------------------------------------------------------------------


def _place(voices: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Queue, exchange and routing key. Who names the queue is heard last: other keys are for other queues."""
    said: dict[str, Any] = {"queue": None, "exchange": None, "routing_key": None}
    for voice in voices:
        for word, value in said.items():
            if value is None:
                said[word] = voice.get(word)
        if said["queue"] is not None:
            break
    return said


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _queue_name(thing: Any) -> str | None:
    if thing is None:
        return None
    return check_queue_name(thing if isinstance(thing, str) else getattr(thing, "name", thing))


def _priority(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"priority is a whole number, 0 goes first, not {value!r}")  # noqa: TRY004 - beside the queue's
    return value
