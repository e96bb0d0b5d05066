"""The bus on Redis, as stock Celery speaks it: fanout by PUBLISH, answers into a list with an end."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import ReplyError

from celeriac.drivers.redis.connection import Connection, checked, pack
from celeriac.drivers.redis.keys import Keys
from celeriac.exceptions import OperationalError

#: Seconds that a reply may take for who tells something.
PATIENCE = 1.0
#: Seconds of one BRPOP: shorter than a reply may take before the connection counts as broken.
STAND = 1.0
#: Seconds within which a connection that was cut shows it.
QUICKLY = 0.5
#: Answers that are taken at once.
MOST_ANSWERS = 1000
#: Milliseconds for which stock Celery keeps a binding that nobody renews.
BINDING = 3_600_000

_SPECIAL = re.compile(r"([\[\]?*\\^])")


class RedisBus:
    """See `celeriac.ports.Bus`."""

    def __init__(self, connect: Callable[..., Connection], keys: Keys, prefix: str, routed: bool) -> None:
        self._connect = connect
        self._keys = keys
        #: Before every topic.
        self._prefix = keys.prefix + prefix
        #: Whether the second word of a topic belongs to the channel, as it does unless stock Celery was told
        #: otherwise.
        self._routed = routed
        self._free: deque[Connection] = deque()
        #: Seconds that any reply may take.
        self._longest = float("inf")
        self._closed = False

    def say(self, topic: str, payload: bytes) -> int:
        return int(self._call(("PUBLISH", self._channel(topic), payload))[0])

    def listen(self, topics: Sequence[str]) -> RedisListening:
        self._must_be_open()
        channels = [self._channel(topic) for topic in topics]
        listening = RedisListening(self._opened(), channels, len(self._prefix))
        listening.open()
        return listening

    def open_box(self, box: str) -> RedisBox:
        self._must_be_open()
        opened = RedisBox(self._connect(), self._keys, box)
        opened.open()
        return opened

    def answer(self, box: str, payload: bytes, keep: float) -> None:
        key = self._keys.ready(box)
        self._call(("LPUSH", key, payload), ("PEXPIRE", key, int(keep * 1000)))

    def hurry(self, longest: float) -> None:
        self._longest = min(self._longest, longest)

    def close(self) -> None:
        self._closed = True
        while self._free:
            self._free.pop().close()

    def _channel(self, topic: str) -> str:
        return self._prefix + (topic if self._routed else topic.partition("/")[0])

    def _call(self, *commands: tuple[Any, ...]) -> list[Any]:
        self._must_be_open()
        try:
            connection = self._free.pop()
        except IndexError:
            connection = self._opened(timeout=PATIENCE)
        was_open, began = connection.is_open, time.monotonic()
        try:
            try:
                replies = connection.call_many(commands)
            except OperationalError:
                if not was_open or time.monotonic() - began > min(QUICKLY, connection.timeout / 2):
                    raise
                # The usual cause is a connection that was idle too long; a silent server is asked once.
                replies = connection.call_many(commands)
            return [checked(reply, connection) for reply in replies]
        except BaseException:
            # Also what a signal handler raises in the middle, as a soft time limit does: a reply may be left.
            connection.close()
            raise
        finally:
            self._free.append(connection)

    def _opened(self, **how: float) -> Connection:
        connection = self._connect(**how)
        connection.hurry(self._longest)
        return connection

    def _must_be_open(self) -> None:
        if self._closed:
            raise OperationalError("this bus is closed")


class RedisListening:
    """See `celeriac.ports.Listening`: one subscribed connection, which is opened anew after it broke."""

    def __init__(self, connection: Connection, channels: Sequence[str], prefix: int) -> None:
        self._connection = connection
        self._channels = channels
        self._prefix = prefix

    def open(self) -> None:
        """Connect and subscribe; from its return on nothing is missed."""
        connection = self._connection
        connection.open()
        plain = [name for name in self._channels if not name.endswith("*")]
        patterns = [_SPECIAL.sub(r"\\\1", name[:-1]) + "*" for name in self._channels if name.endswith("*")]
        try:
            for command, names in (("SUBSCRIBE", plain), ("PSUBSCRIBE", patterns)):
                if names:
                    connection.send(pack(command, *names))
                    for _ in names:
                        checked(connection.read(), connection)
        except OperationalError:
            connection.close()
            raise

    def fileno(self) -> int | None:
        return self._connection.fileno() if self._connection.is_open else None

    def hear(self, wait: float = 0.0) -> list[tuple[str, bytes]]:
        connection = self._connection
        if not connection.is_open:
            self.open()
        heard: list[tuple[str, bytes]] = []
        if not connection.has_more(wait):
            return heard
        while (reply := connection.buffered()) is not False:
            if isinstance(reply, ReplyError):
                raise connection.lost(reply)
            # [b"message", channel, payload] or [b"pmessage", pattern, channel, payload]
            if reply[0] in (b"message", b"pmessage"):
                heard.append((reply[-2].decode()[self._prefix :], reply[-1]))
        return heard

    def close(self) -> None:
        self._connection.close()


class RedisBox:
    """See `celeriac.ports.Listening`: a list to which answers are pushed."""

    def __init__(self, connection: Connection, keys: Keys, box: str) -> None:
        self._connection = connection
        self._box = box
        self._key = keys.ready(box)
        key, _, exchange = box.partition(".")
        self._bindings = keys.bindings + exchange
        self._member = f"{key}\x06\x16\x06\x16{box}"
        self._deadlines = keys.prefix + "_kombu.binding_deadlines"
        self._exchange = exchange
        self._stock = keys.bindings + exchange.removeprefix("reply.")
        self._bound = False

    def open(self) -> None:
        """Make it known to stock workers, if there are any: they look the way up, ours know it."""
        connection = self._connection
        if not connection.call("EXISTS", self._stock):
            return
        self._bound = True
        until = int(time.time() * 1000) + BINDING
        for reply in connection.call_many(
            [
                ("SADD", self._bindings, self._member),
                ("ZADD", self._deadlines, "GT", until, self._exchange),
            ]
        ):
            checked(reply, connection)

    def fileno(self) -> None:
        """None: it is only a list until somebody asks for what is in it."""

    def hear(self, wait: float = 0.0) -> list[tuple[str, bytes]]:
        connection = self._connection
        answers: list[bytes] = []
        deadline = time.monotonic() + wait
        while not answers and (left := deadline - time.monotonic()) > 0:
            # Not all for the same time, see Bell.
            stand = min(left, random.uniform(0.9, 1.0) * STAND)
            first = connection.call("BRPOP", self._key, f"{max(0.01, stand):.3f}")
            if first is not None:
                answers.append(first[1])
        answers += connection.call("RPOP", self._key, MOST_ANSWERS) or []
        return [(self._box, answer) for answer in answers]

    def close(self) -> None:
        connection = self._connection
        if connection.is_open:
            commands: list[tuple[Any, ...]] = [("DEL", self._key)]
            if self._bound:
                commands.append(("SREM", self._bindings, self._member))
            with contextlib.suppress(OperationalError):
                connection.call_many(commands)
        connection.close()
