"""Exchanges on Redis: what is for good stands in kombu's own sets, so that stock Celery sends by it too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from celeriac.drivers.redis.keys import SEPARATOR, Keys
from celeriac.message import Binding

#: Sends one command and gives its reply.
Operate = Callable[..., Any]

#: Ends an announcement of ours, where foreign readers overlook it: our own queues have got it already.
OURS = b',"celeriac":1}'


def bind(operate: Operate, keys: Keys, bindings: Sequence[Binding], keep: float | None) -> None:
    for one in bindings:
        if keep is None:
            member = SEPARATOR.join((one.key, _pattern(one), one.queue))
            operate("SADD", keys.bindings + one.exchange, member)
            operate("SADD", keys.lasting_bindings + one.exchange, member)
        else:
            member = SEPARATOR.join((one.kind, one.key, one.queue))
            until = int((time.time() + keep) * 1000)
            operate("ZADD", keys.our_bindings + one.exchange, until, member)


def bindings(operate: Operate, keys: Keys, exchange: str) -> list[Binding]:
    now = int(time.time() * 1000)
    found = [_of_kombu(exchange, member) for member in operate("SMEMBERS", keys.bindings + exchange)]
    operate("ZREMRANGEBYSCORE", keys.our_bindings + exchange, "-inf", now)
    for member in operate("ZRANGEBYSCORE", keys.our_bindings + exchange, f"({now}", "+inf"):
        kind, key, queue = _text(member).split(SEPARATOR)
        found.append(Binding(exchange, queue, key, kind))
    return sorted({one.queue: one for one in found}.values(), key=lambda one: one.queue)


def queues_bound(operate: Operate, keys: Keys) -> set[str]:
    """All queues that stock Celery's clients and workers have declared."""
    names: set[str] = set()
    cursor: Any = "0"
    while True:
        cursor, found = operate("SCAN", cursor, "MATCH", keys.bindings + "*", "COUNT", 1000, "TYPE", "set")
        for key in found:
            for member in operate("SMEMBERS", key):
                names.add(_text(member).rsplit(SEPARATOR, 1)[-1])
        if int(cursor) == 0:
            return names


def topic_of(keys: Keys, db: int, exchange: str, key: str) -> str:
    """The channel on which kombu says what is sent to a fanout exchange."""
    channel = f"{keys.prefix}/{db}.{exchange}"
    return f"{channel}/{key}" if key else channel


def marked(payload: bytes) -> bytes:
    """An envelope with the mark of being ours."""
    return payload[:-1] + OURS


def _of_kombu(exchange: str, member: bytes | str) -> Binding:
    key, pattern, queue = _text(member).split(SEPARATOR)
    return Binding(exchange, queue, key, "topic" if pattern else "direct")


def _pattern(binding: Binding) -> str:
    """kombu's regular expression for a topic's key; empty for other exchanges."""
    if binding.kind != "topic":
        return ""
    words: Iterable[str] = binding.key.split(".")
    signs = {"*": r"[^\.]+", "#": ".*?"}
    return "^" + r"\.".join(signs.get(word, word) for word in words) + "$"


def _text(reply: bytes | str) -> str:
    return reply.decode() if isinstance(reply, bytes) else reply
