"""Plans on Redis: a sorted set by due time, and one script that sends and moves on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from celeriac.drivers.redis import scripts
from celeriac.drivers.redis.connection import Connection, pack
from celeriac.drivers.redis.keys import Keys
from celeriac.exceptions import Fenced, OperationalError
from celeriac.planned import HISTORY, Change, Plan, Tick, changed

#: Most changes in one script call, and about the most bytes: it runs alone in Redis.
MOST_CHANGES = 500
MOST_BYTES = 4 * 1024 * 1024

_encode = msgspec.msgpack.encode
_decoder = msgspec.msgpack.Decoder(Plan)


class RedisSchedules:
    """See `celeriac.ports.ScheduleStore`."""

    def __init__(self, connect: Callable[..., Connection], keys: Keys, group: str) -> None:
        self._connect = connect
        self._all_keys = keys
        place = f"{keys.beat}{group}."
        self._plans, self._due, self._leader = place + "plans", place + "due", place + "leader"
        self._histories = place + "history:"
        self._keys = [self._leader, place + "term", self._due, self._plans]
        self._names = scripts.names(keys)
        self._free: deque[Connection] = deque()
        self._closed = False

    def tick(self, scheduler: str, lease: float, now: int, most: int) -> Tick:
        packed = scripts.TICK.packed(self._keys, scheduler, int(lease * 1000), now, most)
        term, upcoming, *flat = self._call(scripts.TICK, packed)
        return Tick(term, [_opened(packed) for packed in flat[1::2]], upcoming)

    def write(self, changes: Sequence[Change], scheduler: str = "", term: int = 0) -> list[bool]:
        made: list[bool] = []
        for part in _parts(changes):
            arguments: list[Any] = []
            for change in part:
                arguments += self._arguments(change)
            packed = scripts.PLAN.packed(
                [*self._keys, self._histories], self._names, scheduler, term, HISTORY, *arguments
            )
            reply = self._call(scripts.PLAN, packed)
            if reply is None:
                raise Fenced(scheduler)
            made += [one == 1 for one in reply]
        return made

    def remove(self, names: Sequence[str]) -> int:
        if not names:
            return 0
        histories = [self._histories + name for name in names]
        return int(
            self._many(("HDEL", self._plans, *names), ("ZREM", self._due, *names), ("DEL", *histories))[0]
        )

    def plans(self, names: Sequence[str] | None = None) -> list[Plan]:
        if names is None:
            (found,) = self._many(("HVALS", self._plans))
        elif names:
            (found,) = self._many(("HMGET", self._plans, *names))
        else:
            found = []
        return sorted((_opened(packed) for packed in found if packed is not None), key=lambda plan: plan.name)

    def history(self, name: str, n: int) -> list[bytes]:
        return list(self._many(("LRANGE", self._histories + name, 0, n - 1))[0]) if n > 0 else []

    def leader(self) -> str:
        (name,) = self._many(("GET", self._leader))
        return name.decode() if name else ""

    def resign(self, scheduler: str) -> None:
        self._call(scripts.RESIGN, scripts.RESIGN.packed([self._leader], scheduler))

    def close(self) -> None:
        self._closed = True
        while self._free:
            self._free.pop().close()

    def _arguments(self, change: Change) -> list[Any]:
        plan = changed(change.plan)
        value = b"%d:%s" % (plan.version, _encode(plan))
        arguments: list[Any] = [plan.name, change.plan.version, value, plan.due]
        arguments += (len(change.messages), len(change.notes))
        for message in change.messages:
            due = 0 if message.eta is None else max(1, int(message.eta * 1000))
            ready = self._all_keys.ready(message.queue, message.priority)
            arguments += (message.queue, ready, due, message.payload)
        arguments += change.notes
        return arguments

    def _call(self, script: scripts.Script, packed: bytes) -> Any:
        return self._borrowed(lambda connection: script.call(connection, packed))

    def _many(self, *commands: tuple[Any, ...]) -> list[Any]:
        return [
            self._borrowed(lambda connection, command=command: connection.call_packed(pack(*command)))  # type: ignore[misc]
            for command in commands
        ]

    def _borrowed(self, use: Callable[[Connection], Any]) -> Any:
        if self._closed:
            raise OperationalError("these schedules are closed")
        try:
            connection = self._free.pop()
        except IndexError:
            connection = self._connect()
        try:
            return use(connection)
        except BaseException:
            # Also what a signal handler raises in the middle, as a soft time limit does: a reply may be left.
            connection.close()
            raise
        finally:
            self._free.append(connection)


def _opened(value: bytes) -> Plan:
    return _decoder.decode(value[value.index(b":") + 1 :])


def _parts(changes: Sequence[Change]) -> list[list[Change]]:
    parts: list[list[Change]] = []
    size = MOST_BYTES
    for change in changes:
        if size >= MOST_BYTES or len(parts[-1]) >= MOST_CHANGES:
            parts.append([])
            size = 0
        parts[-1].append(change)
        size += sum(len(message.payload) for message in change.messages)
    return parts
