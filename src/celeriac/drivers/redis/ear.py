"""A connection on which one thread hears of results by itself.

The watch of results.py serves any number of waiters, but its thread has to be woken for each result and has
to wake who waits for it. Who waits alone, as `get()` mostly does, spares both.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from hiredis import PushNotification

from celeriac.drivers.redis.connection import Connection, pack
from celeriac.drivers.redis.keys import Keys
from celeriac.drivers.redis.pulse import Pulse
from celeriac.exceptions import OperationalError


class RedisEar:
    """See `celeriac.ports.Ear`. The connection speaks RESP3."""

    def __init__(self, connection: Connection, keys: Keys, give_back: Callable[[Connection], object]) -> None:
        self._connection = connection
        self._keys = keys
        self._give_back = give_back
        self._awaited: list[str] = []

    def listen(self, ids: Sequence[str]) -> list[bytes | None]:
        self._awaited = keys = [self._keys.meta(id) for id in ids]
        found: list[bytes | None] = self._connection.call_packed(
            pack("SUBSCRIBE", *keys) + pack("MGET", *keys)
        )
        return found

    def hear(self, deadline: float) -> tuple[str, bytes] | None:
        connection, pulse = self._connection, Pulse(self._connection, self._ask)
        while True:
            while connection.notices:
                kind, channel, payload = connection.notices.pop(0)
                # Farewells to what was awaited before come late.
                if kind == b"message" and (key := channel.decode()) in self._awaited:
                    return self._keys.id_of(key), payload
            if pulse.arrives(deadline - time.monotonic()):
                said = connection.read_any()
                if isinstance(said, PushNotification):
                    connection.notices.append(said)
            elif time.monotonic() >= deadline:
                return None

    def _ask(self) -> bool:
        self._connection.send(pack("PING"))
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            with contextlib.suppress(OperationalError):  # then it is closed, which says the same
                self._connection.say(pack("UNSUBSCRIBE", *self._awaited))
        else:
            # A signal's handler may have raised in the middle of a reply.
            self._connection.close()
        self._give_back(self._connection)
