"""Results on Redis under Celery's keys: SET + PUBLISH, and one subscribed connection for all who wait."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar
from weakref import WeakSet

from hiredis import PushNotification, ReplyError

from celeriac.drivers.redis.connection import Connection, ServerError, checked, pack
from celeriac.drivers.redis.ear import RedisEar
from celeriac.drivers.redis.keys import Keys
from celeriac.drivers.redis.pulse import SILENCE, Pulse
from celeriac.drivers.redis.scripts import PUSH, UPDATE
from celeriac.exceptions import OperationalError
from celeriac.message import STREAM_MARK, Result
from celeriac.ports import Watch

T = TypeVar("T")

#: Seconds between a lost watch and the next try, from the first to the longest.
PAUSES = (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)


class RedisResults:
    """See `celeriac.ports.ResultStore`."""

    def __init__(self, connect: Callable[..., Connection], keys: Keys) -> None:
        self._connect = connect
        self._keys = keys
        self._free: deque[Connection] = deque()
        #: One, since connections are dear: it is opened when somebody waits alone.
        self._ears: deque[Connection] = deque([connect(resp3=True)])
        self._watches: WeakSet[RedisWatch] = WeakSet()
        #: Seconds that any reply may take.
        self._longest = float("inf")
        self._closed = False

    def save(self, results: Sequence[Result]) -> None:
        commands: list[tuple[Any, ...]] = []
        for result in results:
            key = self._keys.meta(result.task_id)
            keep = ("PX", int(result.ttl * 1000)) if result.ttl else ()
            commands += [
                ("MULTI",),
                ("SET", key, result.payload, *keep),
                ("PUBLISH", key, result.payload),
                ("EXEC",),
            ]
        self._call_many(commands)

    def update(self, result: Result, keep: Callable[[bytes], bool], owner: str = "") -> bool:
        keys = [self._keys.meta(result.task_id)]
        if owner:
            keys.append(self._keys.claims + owner)
        ttl, seen = int(result.ttl * 1000) if result.ttl else 0, b""
        while True:
            packed = UPDATE.packed(keys, result.payload, ttl, seen)
            answer = self._with_connection(partial(UPDATE.call, packed=packed))
            if isinstance(answer, int):
                return answer == 1
            if keep(answer):
                return False
            seen = answer

    def load(self, ids: Sequence[str]) -> list[bytes | None]:
        if not ids:
            return []
        found: list[bytes | None] = self._call_many([("MGET", *(self._keys.meta(id) for id in ids))])[0]
        return found

    def watch(self, told: Callable[[str, bytes], None]) -> Watch:
        watch = RedisWatch(lambda: self._connect(resp3=True), self._keys, told)
        self._watches.add(watch)
        if self._closed:
            watch.close()
        return watch

    def ear(self) -> RedisEar | None:
        try:
            return None if self._closed else RedisEar(self._ears.pop(), self._keys, self._ears.append)
        except IndexError:
            return None

    def push(self, task_id: str, first: int, parts: Sequence[bytes], keep: int, ttl: float | None) -> None:
        number, stream = self._stream(task_id)
        packed = PUSH.packed([number, stream], first, keep, int(ttl * 1000) if ttl else 0, *parts)
        self._with_connection(lambda connection: PUSH.call(connection, packed))

    def parts(self, task_id: str, after: int, most: int) -> list[tuple[int, bytes]]:
        _, stream = self._stream(task_id)
        found = self._call_many([("XRANGE", stream, f"{after + 1}-0", "+", "COUNT", most)])[0]
        return [(int(entry.partition(b"-")[0]), fields[1]) for entry, fields in found]

    def forget(self, ids: Sequence[str]) -> None:
        if ids:
            keys = [self._keys.meta(id) for id in ids]
            keys += [f"{key}.parts" for id, key in zip(ids, keys, strict=True) if id.startswith(STREAM_MARK)]
            self._call_many([("DEL", *keys)])

    def hurry(self, longest: float) -> None:
        if longest < self._longest:
            self._longest = longest
            with contextlib.suppress(IndexError):
                while True:
                    self._free.pop().close()

    def close(self) -> None:
        self._closed = True
        for watch in list(self._watches):
            watch.close()
        for free in (self._free, self._ears):
            while free:
                free.pop().close()

    def _stream(self, task_id: str) -> tuple[str, str]:
        """Where the number of its last part lies, and where its parts do."""
        number = self._keys.meta(STREAM_MARK + task_id)
        return number, f"{number}.parts"

    def _call_many(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        return self._with_connection(
            lambda connection: [checked(reply, connection) for reply in connection.call_many(commands)]
        )

    def _with_connection(self, work: Callable[[Connection], T]) -> T:
        if self._closed:
            raise OperationalError("this result store is closed")
        try:
            connection = self._free.pop()
        except IndexError:
            connection = self._connect()
            connection.hurry(self._longest)
        try:
            try:
                return work(connection)
            except OperationalError:
                # All commands here may be said twice: the usual cause is a connection that was idle too long.
                return work(connection)
        except BaseException:
            # Also what a signal handler raises in the middle, as a soft time limit does: a reply may be left.
            connection.close()
            raise
        finally:
            self._free.append(connection)


class RedisWatch:
    """One connection that is subscribed to every awaited result, read by a thread of its own.

    RESP3 lets the same connection answer MGET, so adding an id costs one round trip: SUBSCRIBE, then MGET, in
    one packet.
    """

    def __init__(
        self, connect: Callable[[], Connection], keys: Keys, told: Callable[[str, bytes], None]
    ) -> None:
        self._keys = keys
        self._told = told
        #: Opened by the reader alone; others may send while it is up, under the lock.
        self._connection = connect()
        self._changed = threading.Condition()
        self._up = False
        self._watched: set[str] = set()
        self._answers: deque[_Answer] = deque()
        #: Why it is not up.
        self._trouble: OperationalError | None = None
        self._reader: threading.Thread | None = None
        self._closed = False

    def add(self, ids: Sequence[str]) -> list[bytes | None]:
        deadline = time.monotonic() + self._connection.timeout
        while ids:
            answer = self._ask(ids, deadline)
            left = deadline - time.monotonic()
            if not answer.done.wait(min(SILENCE, left)):
                # Nobody told us that it is dead: let the reader find out now.
                self._connection.shut()
                if left <= SILENCE:
                    raise OperationalError(f"no answer from Redis at {self._connection.address}")
            elif answer.error is None:
                return list(answer.payloads)
            elif isinstance(answer.error, ServerError):
                raise answer.error
        return []

    def discard(self, ids: Sequence[str]) -> None:
        with self._changed:
            gone = [id for id in ids if id in self._watched]
            self._watched.difference_update(gone)
            if gone and self._up:
                with contextlib.suppress(OperationalError):
                    self._connection.say(pack("UNSUBSCRIBE", *(self._keys.meta(id) for id in gone)))

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._connection.shut()

    def _ask(self, ids: Sequence[str], deadline: float) -> _Answer:
        """Subscribe, and ask for what is stored already, as soon as the connection is up."""
        with self._changed:
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, name="celeriac-results", daemon=True)
                self._reader.start()
            self._changed.wait_for(lambda: self._up or self._closed, max(0.0, deadline - time.monotonic()))
            if self._closed:
                raise OperationalError("this watch is closed")
            if not self._up:
                address = self._connection.address
                raise self._trouble or OperationalError(f"no connection to Redis at {address} in time")
            self._watched.update(ids)
            keys = [self._keys.meta(id) for id in ids]
            answer = _Answer()
            # Expected before it is sent: the reader may be quicker than we are.
            self._answers.append(answer)
            try:
                self._connection.say(pack("SUBSCRIBE", *keys) + pack("MGET", *keys))
            except OperationalError as error:
                self._up = False
                answer.fail(error)  # and is asked for again, once the reader has made a new connection
            return answer

    # -- on the watch's own thread

    def _read(self) -> None:
        tries = 0
        while not self._closed:
            try:
                self._open()
                tries = 0
                self._listen()
            except OperationalError as error:
                self._go_down(error)
                time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1
        self._connection.close()

    def _open(self) -> None:
        """Connect, subscribe to everything that is watched, and tell what was saved meanwhile."""
        self._connection.open()
        with self._changed:
            ids = list(self._watched)
            if ids:
                keys = [self._keys.meta(id) for id in ids]
                self._answers.append(_Answer(partial(self._tell_all, ids)))
                self._connection.say(pack("SUBSCRIBE", *keys) + pack("MGET", *keys))
            self._up = True
            self._changed.notify_all()

    def _go_down(self, error: OperationalError) -> None:
        with self._changed:
            self._up = False
            self._trouble = error
            answers, self._answers = self._answers, deque()
        for answer in answers:
            answer.fail(error)

    def _listen(self) -> None:
        connection, pulse = self._connection, Pulse(self._connection, self._ping)
        while not self._closed:
            if not pulse.arrives(SILENCE):
                continue
            reply = connection.read_any()
            if isinstance(reply, PushNotification):
                if reply[0] == b"message":
                    self._tell(self._keys.id_of(reply[1].decode()), reply[2])
            else:
                self._answers.popleft().give(reply)

    def _ping(self) -> bool:
        """Only while somebody waits: otherwise it does not matter who is there."""
        if not self._watched:
            return False
        with self._changed:
            self._answers.append(_Answer())
            self._connection.say(pack("PING"))
        return True

    def _tell_all(self, ids: Sequence[str], payloads: Sequence[bytes | None]) -> None:
        for id, payload in zip(ids, payloads, strict=True):
            if payload is not None:
                self._tell(id, payload)

    def _tell(self, id: str, payload: bytes) -> None:
        if id in self._watched:
            self._told(id, payload)


class _Answer:
    """The reply to one MGET, for the thread that asked."""

    def __init__(self, then: Callable[[Sequence[bytes | None]], None] | None = None) -> None:
        self.done = threading.Event()
        self.payloads: Sequence[bytes | None] = ()
        self.error: OperationalError | None = None
        self._then = then

    def give(self, reply: Any) -> None:
        if isinstance(reply, ReplyError):
            self.error = ServerError(f"Redis answered: {reply}")
        elif isinstance(reply, list):
            self.payloads = reply
            if self._then is not None:
                self._then(reply)
        self.done.set()

    def fail(self, error: OperationalError) -> None:
        self.error = error
        self.done.set()
