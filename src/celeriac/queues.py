"""The queues that an app declares, and by which exchanges and keys each is reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from celeriac.exceptions import ImproperlyConfigured
from celeriac.message import Binding

#: Bytes; the limit of AMQP's names, and nobody reads longer ones.
LONGEST_QUEUE_NAME = 255
#: Kinds of exchanges that are emulated; `headers` is left to AMQP.
_KINDS = ("direct", "topic", "fanout")


class Queue(msgspec.Struct, frozen=True):
    """A queue that the app declares in task_queues; anything else with a `name` is as good."""

    name: str
    exchange: str = ""
    routing_key: str = ""
    exchange_type: str = "direct"
    #: More than one way into it.
    more: tuple[Binding, ...] = ()
    #: Every worker that serves it has a queue of its own in its place (kombu's Broadcast).
    broadcast: bool = False

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """By which exchange and key it is reached, beside its name."""
        key = self.routing_key or self.name
        first = (Binding(self.exchange, self.name, key, self.exchange_type),) if self.exchange else ()
        return first + self.more


def read_queues(declared: Any) -> dict[str, Queue]:
    """task_queues: names, objects with a `name`, or a dict of names and options."""
    if not declared:
        return {}
    if isinstance(declared, Mapping):
        queues = [_queue_of_options(name, options or {}) for name, options in declared.items()]
    elif isinstance(declared, Iterable) and not isinstance(declared, str | bytes):
        queues = [_queue_of_object(entry) for entry in declared]
    else:
        raise ImproperlyConfigured(f"task_queues is a list or a dict of queues, not {declared!r}")
    try:
        return {check_queue_name(queue.name): queue for queue in queues}
    except ValueError as error:
        raise ImproperlyConfigured(f"task_queues: {error}") from None


def check_queue_name(name: object) -> str:
    """The name, if a queue can be called so; else a ValueError that says why not."""
    if not isinstance(name, str):
        raise ValueError(f"the name of a queue is a text, not {name!r}")  # noqa: TRY004 - one kind of error for every bad name
    if not name:
        raise ValueError("the name of a queue is empty")
    if not name.isprintable():
        raise ValueError(f"queue name {name!r} has signs that cannot be printed; use others")
    if len(name.encode()) > LONGEST_QUEUE_NAME:
        raise ValueError(f"queue name {name[:40]!r}... is longer than {LONGEST_QUEUE_NAME} bytes")
    return name


def reached_by(queue: Queue) -> tuple[Binding, ...]:
    """A queue without an exchange is the one of the exchange of its name."""
    return queue.bindings or (Binding(queue.name, queue.name, queue.routing_key or queue.name),)


def fits(binding: Binding, exchange: str | None, key: Any) -> bool:
    """Direct: the same key. Topic: `*` stands for one word, `#` for any number of them. No key fits all."""
    if exchange and exchange != binding.exchange:
        return False
    if binding.kind == "fanout":
        return bool(exchange)  # a key means nothing to it
    if not key or binding.kind != "topic":
        return not key or binding.key == key
    return _words_fit(binding.key.split("."), str(key).split("."))


def name_of(thing: Any) -> str | None:
    """The name of an exchange, given as a text or as an object."""
    return thing if thing is None or isinstance(thing, str) else getattr(thing, "name", None)


def _queue_of_options(name: str, options: Any) -> Queue:
    if not isinstance(options, Mapping):
        raise ImproperlyConfigured(f"task_queues: the options of {name!r} are a dict, not {options!r}")
    return Queue(
        name,
        name_of(options.get("exchange")) or "",
        options.get("routing_key") or options.get("binding_key") or "",
        _kind(name, options.get("exchange_type") or getattr(options.get("exchange"), "type", None)),
    )


def _queue_of_object(entry: Any) -> Queue:
    if isinstance(entry, Queue):
        return entry
    if isinstance(entry, str):
        return Queue(entry)
    if not isinstance(getattr(entry, "name", None), str):
        raise ImproperlyConfigured(f"task_queues: {entry!r} is neither a name nor an object with a name")
    exchange = getattr(entry, "exchange", None)
    kind = _kind(entry.name, getattr(exchange, "type", None))
    alias = getattr(entry, "alias", None)
    is_broadcast = kind == "fanout" and bool(alias)
    name = str(alias) if is_broadcast else entry.name
    more = tuple(
        Binding(name_of(one.exchange) or "", name, one.routing_key or "", _kind(name, one.exchange.type))
        for one in getattr(entry, "bindings", None) or ()
    )
    return Queue(
        name, name_of(exchange) or "", getattr(entry, "routing_key", None) or "", kind, more, is_broadcast
    )


def _kind(queue: str, said: Any) -> str:
    kind = said or "direct"
    if kind not in _KINDS:
        raise ImproperlyConfigured(
            f"task_queues: the exchange of {queue!r} is of type {kind!r}; there are {', '.join(_KINDS)}. "
            + (
                "Celery on Redis has none of that type either: let a function in task_routes choose the queue"
                if kind == "headers"
                else "The type stands in Exchange(..., type=)"
            )
        )
    return str(kind)


def _words_fit(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return _words_fit(pattern[1:], words) or (bool(words) and _words_fit(pattern, words[1:]))
    return bool(words) and pattern[0] in ("*", words[0]) and _words_fit(pattern[1:], words[1:])
