"""Sends messages to Redis exactly once, from any thread, also over a connection that breaks."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from celeriac.drivers.redis import scripts
from celeriac.drivers.redis.connection import Connection, ServerError, pack
from celeriac.drivers.redis.keys import Keys
from celeriac.exceptions import OperationalError
from celeriac.message import Message

#: A script runs alone in Redis, so one call stays short: about this many messages and bytes at most.
MOST_MESSAGES = 1000
MOST_BYTES = 4 * 1024 * 1024

#: Seconds before the 2nd, 3rd ... try. A dead server is told after about a second, a silent one at the time
#: limit.
PAUSES = (0.05, 0.25, 0.6)
#: The part of the time limit after which a silent connection is given up for a new one: it may be long dead,
#: and the server well.
FIRST_PART = 0.4
#: A publish of more bytes than LARGE has longer: a second more for each SLOWEST bytes, for a machine under load
#: may need seconds to take in some megabytes.
LARGE = 256 * 1024
SLOWEST = 4 * 1024 * 1024
#: Publishes of which nobody knows whether they were stored, and for how many seconds each is remembered: a
#: little less than its number in Redis (publish.lua).
MOST_DOUBTS, DOUBT = 1000, 100.0


#: Sends a packed command over a connection and waits for its reply.
Say = Callable[[Connection, bytes], Any]


class Producer:
    """A pool of lines, one for each thread that sends at the same moment.

    A publish that failed may have been stored nevertheless. Whoever sends the same message (by its id) once
    more speaks over the line of the first time and under the same number, so it is stored once.
    """

    def __init__(self, connect: Callable[..., Connection], keys: Keys, limit: float) -> None:
        self._connect = connect
        self._keys = keys
        self._names = scripts.names(keys)
        self._limit = limit
        self._free: deque[_Line] = deque()
        self._known: set[str] = set()
        #: Ids of what failed -> the line of that publish, and until when (monotonic) it is remembered.
        self._doubts: dict[tuple[str, ...], tuple[_Line, float]] = {}
        self._closed = False

    def publish(self, messages: Sequence[Message]) -> None:
        """Send all; in one step up to MOST_MESSAGES."""
        if self._closed:
            raise OperationalError("this broker is closed")
        if len(messages) == 1:
            line = self._send_part(messages)
            if not line.lent:
                self._free.append(line)
            return
        said: list[tuple[Sequence[Message], _Line]] = []
        for part in _parts(messages):
            try:
                line = self._send_part(part)
            except OperationalError:
                for earlier, its_line in said:
                    self._remember(earlier, its_line, its_line.number)
                raise
            if len(part) < len(messages):
                said.append((part, _Line(self._connect(), line.key, line.number - 1, lent=True)))
            if line.lent:
                line.connection.close()
            else:
                self._free.append(line)

    def _send_part(self, part: Sequence[Message]) -> _Line:
        """Send it over a line, and give that line."""
        line = (self._line_of_doubt(part) if self._doubts else None) or self._free_line()
        before = line.number
        try:
            if len(part) == 1 and part[0].eta is None and part[0].queue in self._known and not part[0].members:
                self._send_one(line, part[0])
            else:
                self._send(line, part)
        except OperationalError:
            self._remember(part, line, before)
            raise
        return line

    def close(self) -> None:
        """May be called twice."""
        self._closed = True
        while self._free:
            self._free.pop().connection.close()

    def _free_line(self) -> _Line:
        try:
            return self._free.pop()
        except IndexError:
            key = f"{self._keys.sent}{os.urandom(8).hex()}"
            return _Line(self._connect(timeout=self._limit * FIRST_PART), key)

    def _line_of_doubt(self, messages: Sequence[Message]) -> _Line | None:
        """The line over which these messages may have been stored, set back to the number before."""
        line, until = self._doubts.pop(tuple(message.id for message in messages), (None, 0.0))
        return None if until < time.monotonic() else line

    def _remember(self, messages: Sequence[Message], line: _Line, number: int) -> None:
        line.connection.close()
        line.number = number
        now = time.monotonic()
        for ids, (_, until) in list(self._doubts.items()):  # the oldest first
            if len(self._doubts) < MOST_DOUBTS and until > now:
                break
            self._doubts.pop(ids, None)
        self._doubts[tuple(message.id for message in messages)] = (line, now + DOUBT)

    def _send_one(self, line: _Line, message: Message) -> None:
        way = (message.queue, message.priority)
        front = line.fronts.get(way)
        if front is None:
            ready, bell = self._keys.ready(*way), self._keys.bell + message.queue
            front = line.fronts[way] = scripts.SEND.front([line.key, ready, bell], 2)
        line.number += 1
        payload = message.payload
        packed = b"%b$12\r\n%012d\r\n$%d\r\n%b\r\n" % (front, line.number, len(payload), payload)
        self._deliver(line.connection, scripts.SEND.call, packed)

    def _send(self, line: _Line, messages: Sequence[Message]) -> None:
        known = self._known
        register = 0
        arguments: list[str | bytes | int] = []
        for message in messages:
            # Before its members can end. What is said again after a failure changes nothing.
            for key, size, keep in map(self._keys.members, message.members):
                self._deliver(line.connection, Connection.call_packed, pack("SET", key, size, "PX", keep))
            queue = message.queue
            if queue not in known:
                register = 1
            due = 0 if message.eta is None else max(1, int(message.eta * 1000))
            arguments += (queue, self._keys.ready(queue, message.priority), due, message.payload)
        line.number += 1
        packed = scripts.PUBLISH.packed([line.key], self._names, line.number, register, *arguments)
        self._deliver(line.connection, scripts.PUBLISH.call, packed)
        if register:
            known.update(message.queue for message in messages)

    def _deliver(self, connection: Connection, say: Say, packed: bytes) -> None:
        more = len(packed) / SLOWEST if len(packed) > LARGE else 0.0
        try:
            if more:
                connection.allow(more)
            say(connection, packed)
            if more:
                connection.allow(0.0)
        except ServerError:
            raise
        except OperationalError as error:
            self._deliver_again(say, packed, connection.last_use + self._limit + more, error)

    def _deliver_again(
        self, say: Say, packed: bytes, deadline: float, error: OperationalError
    ) -> None:
        """The number in `packed` makes this safe: what was stored is not stored twice."""
        for pause in PAUSES:
            if time.monotonic() + pause >= deadline:
                break
            time.sleep(pause)
            # One more connection for this try, which may take what is left of the time and no more.
            again = self._connect(timeout=max(0.05, deadline - time.monotonic()))
            try:
                say(again, packed)
                return
            except ServerError:
                raise
            except OperationalError as newer:
                error = newer
            finally:
                again.close()
        raise error


class _Line:
    """One connection and its count of publishes."""

    __slots__ = ("connection", "fronts", "key", "lent", "number")

    def __init__(self, connection: Connection, key: str, number: int = 0, *, lent: bool = False) -> None:
        self.connection = connection
        self.key = key
        self.number = number
        #: (queue, priority) -> how the command that sends one message there begins.
        self.fronts: dict[tuple[str, int], bytes] = {}
        #: Another line goes on counting under this key: this one may say again what was said, and no more.
        self.lent = lent


def _parts(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    if len(messages) == 1:
        yield messages
        return
    part: list[Message] = []
    size = 0
    for message in messages:
        if part and (len(part) >= MOST_MESSAGES or size + len(message.payload) > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message.payload)
    if part:
        yield part
