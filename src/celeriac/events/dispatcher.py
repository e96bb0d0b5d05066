"""Sends events, at once or a few together; what cannot be sent is kept, but not without end."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from celeriac.conversation import Speaker
from celeriac.events.event import Event, Fields, utcoffset
from celeriac.exceptions import OperationalError
from celeriac.logical import clock
from celeriac.wire.broadcast import pack_events
from celeriac.wire.ids import default_origin as anonymous

#: Events that wait while the store is away; of more than these the oldest are lost.
MOST_WAITING = 10_000
#: Events in one message.
MOST_TOGETHER = 200


class EventDispatcher:
    """Tells monitors what happens in this process. `send("task-progress", uuid=id, done=0.5)`.

    Events about tasks travel together where `buffer_group` says "task", until `flush`.
    """

    #: Brokers that cannot carry events: none.
    DISABLED_TRANSPORTS: frozenset[str] = frozenset()

    def __init__(
        self,
        connection: object = None,
        hostname: str | None = None,
        enabled: bool = True,
        channel: object = None,
        buffer_while_offline: bool = True,
        app: Speaker | None = None,
        serializer: str | None = None,
        groups: Any = None,
        delivery_mode: int = 1,
        buffer_group: Any = None,
        buffer_limit: int = 24,
        on_send_buffered: Callable[[], object] | None = None,
        pid: int | None = None,
    ) -> None:
        if app is None:
            raise TypeError("of which app? Use app.events.Dispatcher()")
        self.app = app
        self.hostname = hostname or anonymous()
        self.pid = pid or os.getpid()
        self.buffer_while_offline = buffer_while_offline
        self.groups = set(groups or ())
        self.buffer_group = set(buffer_group or ())
        self.buffer_limit = buffer_limit
        self.on_send_buffered = on_send_buffered
        #: How many could never be sent.
        self.lost = 0
        #: How many monitors heard what was sent last.
        self.heard = 0
        self.on_enabled: set[Callable[[], object]] = set()
        self.on_disabled: set[Callable[[], object]] = set()
        self.enabled = False
        self._exchange: str = app.conf.event_exchange
        self._offset = utcoffset()
        #: (group, event): what waits for others, or for the store.
        self._waiting: deque[Fields] = deque()
        self._lock = threading.Lock()
        if enabled:
            self.enable()

    def enable(self) -> None:
        """Send from now on."""
        self.enabled = True
        for call in self.on_enabled:
            call()

    def disable(self) -> None:
        """Send nothing any more."""
        if self.enabled:
            self.flush()
            self.enabled = False
            for call in self.on_disabled:
                call()

    def send(
        self,
        type: str,
        blind: bool = False,
        utcoffset: object = None,
        retry: bool = False,
        retry_policy: object = None,
        Event: Callable[..., Fields] = Event,  # noqa: N803 - Celery's name
        **fields: Any,
    ) -> None:
        """Tell of something. A store that is away is no error: the event waits for the next one."""
        group = type.partition("-")[0]
        if not self.enabled or (self.groups and group not in self.groups):
            return
        event = self._completed(type, fields, Event)
        if group in self.buffer_group:
            self._put(event)
            if len(self._waiting) >= self.buffer_limit:
                self.flush()
            elif self.on_send_buffered is not None:
                self.on_send_buffered()
        else:
            self._say([event], type.replace("-", "."))

    def publish(
        self, type: str, fields: Fields, producer: object = None, blind: bool = False, **options: Any
    ) -> None:
        """As `send`, with the fields as a mapping."""
        self.send(type, **fields)

    @property
    def waiting(self) -> int:
        """How many events wait to be sent."""
        return len(self._waiting)

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Send what waits."""
        while self._waiting:
            with self._lock:
                part = [self._waiting.popleft() for _ in range(min(MOST_TOGETHER, len(self._waiting)))]
            if part and not self._say(part, "task.multi"):
                return

    def extend_buffer(self, other: EventDispatcher) -> None:
        """Take over what waits in another."""
        for event in list(other._waiting):
            self._put(event)

    def close(self) -> None:
        """Send what waits; may be called twice."""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _completed(self, type: str, fields: Fields, make: Callable[..., Fields]) -> Fields:
        named = {"hostname": self.hostname, "utcoffset": self._offset, "pid": self.pid, "clock": clock.tick()}
        return make(type, {**named, **fields})

    def _put(self, event: Fields) -> None:
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.popleft()
                self.lost += 1
            self._waiting.append(event)

    def _say(self, events: list[Fields], routing_key: str) -> bool:
        together = routing_key == "task.multi"
        payload = pack_events(events if together else events[0], self._exchange, routing_key, self.hostname)
        try:
            self.heard = self.app.bus.say(f"{self._exchange}/{routing_key}", payload)
        except OperationalError:
            if not self.buffer_while_offline:
                self.lost += len(events)
                raise
            with self._lock:
                self._waiting.extendleft(reversed(events))
                while len(self._waiting) > MOST_WAITING:
                    self._waiting.popleft()
                    self.lost += 1
            return False
        if not together and self._waiting and not self.buffer_group:
            self.flush()  # the store is back
        return True
