"""Sends messages to Redis exactly once, from any thread, also over a connection that breaks."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat

from celeriac.drivers import counting
from celeriac.drivers.counting import Headers
from celeriac.drivers.redis import scripts
from celeriac.drivers.redis.connection import Connection, ServerError, checked, pack
from celeriac.drivers.redis.keys import Keys
from celeriac.exceptions import OperationalError
from celeriac.message import Message

#: A script runs alone in Redis, so one call stays short: about this many messages and bytes at most.
MOST_MESSAGES = 1000
MOST_BYTES = 4 * 1024 * 1024

#: Seconds before the 2nd, 3rd ... try. A dead server is told after about a second, a silent one at the time
#: limit, and so is one whose connections break again and again: that passes.
PAUSES = (0.05, 0.25, 0.6)
#: The part of the time limit after which a silent connection is given up for a new one: it may be long dead,
#: and the server well.
FIRST_PART = 0.4
#: A publish of more bytes than LARGE has longer: a second more for each SLOWEST bytes, since a machine under
#: load may need seconds to take in some megabytes.
LARGE = 256 * 1024
SLOWEST = 4 * 1024 * 1024
#: Bytes that Redis takes as one string (proto-max-bulk-len); it hangs up on who sends more.
MOST_IN_ONE = 512 << 20
#: The part of a line's time limit that replicas have to say that they have a message.
COPYING_PART = 0.8
#: Seconds for which Redis keeps the number of a line's last publish (publish.lua and send.lua say so too).
NUMBER_KEPT = 120
#: Publishes of which nobody knows whether they were stored, and for how many seconds each is remembered: a
#: little less than its number in Redis (publish.lua).
MOST_DOUBTS, DOUBT = 1000, 100.0


class Producer:
    """A pool of lines, one for each thread that sends at the same moment.

    A publish that failed may have been stored nevertheless. Whoever sends the same message (by its id) once
    more speaks over the line of the first time and under the same number, so it is stored once.
    """

    def __init__(
        self, connect: Callable[..., Connection], keys: Keys, limit: float, replicas: int = 0
    ) -> None:
        self._connect = connect
        self._keys = keys
        self._names = scripts.names(keys)
        self._limit = limit
        #: How many replicas must have a message before it counts as sent.
        self._replicas = replicas
        self._free: deque[_Line] = deque()
        self._known: set[str] = set()
        #: Ids of what failed -> the line of that publish, and until when (monotonic) it is remembered.
        self._doubts: dict[tuple[str, ...], tuple[_Line, float]] = {}
        self._closed = False

    def publish(self, messages: Sequence[Message], headers: Headers | None = None) -> None:
        """Send all; in one step up to MOST_MESSAGES."""
        if self._closed:
            raise OperationalError("this broker is closed")
        if headers is None and len(messages) > 1:
            headers = Headers()
        said: list[tuple[Sequence[Message], _Line]] = []
        for part in (messages,) if len(messages) == 1 else _parts(messages):
            line = (self._line_of_doubt(part) if self._doubts else None) or self._free_line()
            try:
                if (
                    headers is None
                    and not self._replicas
                    and _is_plain(part[0])
                    and part[0].queue in self._known
                ):
                    self._send_one(line, part)
                else:
                    began = time.monotonic()
                    self._finish(line, self._begin(line, part, headers or Headers()), began)
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

    def publish_all(self, batches: Iterable[Sequence[Message]]) -> None:
        """`publish` for each; the next one is asked for while Redis takes in the one before."""
        headers = Headers()
        if self._doubts or self._closed:
            for batch in batches:
                self.publish(batch, headers)
            return
        parts = (part for batch in batches for part in _parts(batch))
        line = self._free_line()
        under_way: Publish | None = None
        while True:
            try:
                part = next(parts, None)
            except BaseException:
                # It could not be made; what was sent before it is in Redis's hands.
                if under_way is not None:
                    self._finish(line, under_way, time.monotonic())
                self._free.append(line)
                raise
            if under_way is not None:
                self._finish(line, under_way, time.monotonic())
            if part is None:
                break
            under_way = self._begin(line, part, headers)
        self._free.append(line)

    def hurry(self, longest: float) -> None:
        """From now on give up a publish after so many seconds. For who has sent nothing yet."""
        self._limit = min(self._limit, longest)

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

    def _send_one(self, line: _Line, part: Sequence[Message]) -> None:
        """`_begin` and `_finish` of one plain message, as quickly as can be: this is `delay()`."""
        message = part[0]
        way = (message.queue, message.priority)
        front = line.fronts.get(way)
        if front is None:
            front = line.fronts[way] = scripts.SEND.front(self._ends(line, message), 2)
        line.number += 1
        payload = message.payload
        packed = b"%b$12\r\n%012d\r\n$%d\r\n%b\r\n" % (front, line.number, len(payload), payload)
        if len(packed) > LARGE:
            began = time.monotonic()
            self._finish(line, _send(line, Publish(part, scripts.SEND, packed)), began)
            return
        try:
            scripts.SEND.call(line.connection, packed)
        except OperationalError as error:
            deadline = line.connection.last_use + self._limit
            self._finish_after(error, line, Publish(part, scripts.SEND, packed), deadline)

    def _begin(self, line: _Line, part: Sequence[Message], headers: Headers) -> Publish:
        """Send it; its reply is not waited for."""
        patience = max(1, int(counting.PATIENCE * 1000))
        before: list[tuple[str | int, ...]] = [
            ("SET", key, value, "PX", keep) for key, value, keep in self._keys.told(part)
        ]
        of_chords = [self._keys.group + chord for chord in headers.after(part)]
        of_chords += [key for message in part if message.members for key in self._keys.added(message)]
        for chord in headers.open:
            key = self._keys.group + chord
            before += [("SADD", self._keys.headers, key), ("SET", key + ".o", 1, "PX", patience)]
        line.number += 1
        if part[0].queue in self._known and not of_chords and _go_one_way(part):
            payloads = [message.payload for message in part]
            packed = scripts.SEND.packed(self._ends(line, part[0]), line.number, *payloads)
            return _send(line, Publish(part, scripts.SEND, packed, before))
        known = self._known
        register = 0
        arguments: list[str | bytes | int] = []
        for message in part:
            queue = message.queue
            if queue not in known:
                register = 1
            due = 0 if message.eta is None else max(1, int(message.eta * 1000))
            arguments += (queue, self._keys.ready(queue, message.priority), due, message.payload)
        keys = [line.key, *of_chords]
        packed = scripts.PUBLISH.packed(keys, self._names, line.number, register, *arguments)
        return _send(line, Publish(part, scripts.PUBLISH, packed, before))

    def _finish(self, line: _Line, publish: Publish, began: float) -> None:
        """Wait until it is stored; the limit counts from `began`, monotonic seconds."""
        connection = line.connection
        deadline = began + self._limit + publish.longer
        try:
            if publish.error is not None:
                raise publish.error
            self._hear(line, publish, connection)
            if publish.longer:
                connection.allow(0.0)
        except OperationalError as error:
            self._finish_after(error, line, publish, deadline)
        if publish.script is scripts.PUBLISH:
            self._known.update(message.queue for message in publish.part)

    def _finish_after(self, error: OperationalError, line: _Line, publish: Publish, deadline: float) -> None:
        """Its number makes sending it again safe: what was stored is not stored twice."""
        if not isinstance(error, ServerError):
            for tries, pause in enumerate(chain(PAUSES, repeat(PAUSES[-1]))):
                if tries >= len(PAUSES) and not isinstance(error.__cause__, ConnectionResetError):
                    break
                now = time.monotonic() + pause
                if now >= deadline or now >= line.connection.last_use + DOUBT:
                    break
                time.sleep(pause)
                # One more connection for this try, which may take what is left of the time and no more.
                again = self._connect(timeout=max(0.05, deadline - time.monotonic()))
                try:
                    again.send(publish.packed)
                    self._hear(line, publish, again)
                    return
                except ServerError as refusal:
                    error = refusal
                    break
                except OperationalError as newer:
                    error = newer
                finally:
                    again.close()
        self._remember(publish.part, line, line.number - 1)
        raise error

    def _hear(self, line: _Line, publish: Publish, connection: Connection) -> None:
        publish.hear(connection)
        if self._replicas:
            self._wait_for_copies(line, connection)

    def _wait_for_copies(self, line: _Line, connection: Connection) -> None:
        """Redis answers before its replicas have heard; a message that they have survives its death."""
        most = self._limit * FIRST_PART * COPYING_PART
        # WAIT waits for what this connection wrote, and a publish that is sent again writes nothing.
        address = connection.address
        replies = connection.call_many(
            [("EXPIRE", line.key, NUMBER_KEPT), ("WAIT", self._replicas, int(most * 1000))]
        )
        _, copies = (checked(reply, connection) for reply in replies)
        if copies < self._replicas:
            raise ServerError(
                f"Redis at {address} has the message, but only {copies} of {self._replicas} replicas have it "
                f"too after {most:.1f} s (wait_replicas): send it again, under its id it is stored once"
            )

    def _ends(self, line: _Line, message: Message) -> list[str]:
        """The keys of send.lua."""
        keys = self._keys
        return [line.key, keys.ready(message.queue, message.priority), keys.bell + message.queue]


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


class Publish:
    """Messages on their way to Redis."""

    __slots__ = ("_before", "_call", "error", "longer", "packed", "part", "script")

    def __init__(
        self,
        part: Sequence[Message],
        script: scripts.Script,
        call: bytes,
        before: Sequence[tuple[str | int, ...]] = (),
    ) -> None:
        self.part = part
        self.script = script
        self._call = call
        self._before = len(before)
        #: All that is sent. What is told of chords comes before their members can end; said again it changes
        #: nothing.
        self.packed = b"".join((*(pack(*command) for command in before), call))
        #: Seconds that it may take more than others.
        self.longer = len(call) / SLOWEST if len(call) > LARGE else 0.0
        #: Why it could not be sent.
        self.error: OperationalError | None = _refusal(part) if len(call) > MOST_IN_ONE else None

    def hear(self, connection: Connection) -> None:
        """Read the replies; raises if Redis refused it."""
        for _ in range(self._before):
            checked(connection.read(), connection)
        self.script.concluded(connection, self._call, connection.read())


def _send(line: _Line, publish: Publish) -> Publish:
    if publish.error is not None:
        return publish
    try:
        if publish.longer:
            line.connection.allow(publish.longer)
        line.connection.send(publish.packed)
    except OperationalError as error:
        publish.error = error
    return publish


def _refusal(part: Sequence[Message]) -> ServerError | None:
    size = max(len(message.payload) for message in part)
    if size <= MOST_IN_ONE:
        return None
    return ServerError(
        f"a message of {size >> 20} MiB was not sent: Redis takes {MOST_IN_ONE >> 20} MiB in one piece; "
        "store the data elsewhere and send where it is"
    )


def _is_plain(message: Message) -> bool:
    return message.eta is None and not message.members


def _go_one_way(part: Sequence[Message]) -> bool:
    """All into one list, now."""
    way = (part[0].queue, part[0].priority, None)
    return all((message.queue, message.priority, message.eta) == way for message in part)


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
