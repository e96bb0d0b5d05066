"""Hears events and hands each to who is meant: the loop of a monitor."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self
from uuid import uuid4

from celeriac.conversation import Speaker
from celeriac.events.event import Fields
from celeriac.events.state import State
from celeriac.exceptions import CeleriacError, OperationalError
from celeriac.logical import clock
from celeriac.ports import Listening
from celeriac.wire.broadcast import unpack_events

Handler = Callable[[Fields], object]

#: Seconds between two tries while the store is away.
PAUSE = 1.0
#: Seconds of one wait, so that a signal and `should_stop` are seen.
TICK = 1.0


class EventReceiver:
    """Gives each event to the handler of its type, or else to that of "*".

        receiver = app.events.Receiver(handlers={"task-failed": tell_the_team, "*": state.event})
        receiver.capture()

    What names queues and connections is accepted, and has no meaning here.
    """

    def __init__(
        self,
        channel: object = None,
        handlers: Mapping[str, Handler] | None = None,
        routing_key: str = "#",
        node_id: str | None = None,
        app: Speaker | None = None,
        queue_prefix: str | None = None,
        accept: Any = None,
        queue_ttl: object = None,
        queue_expires: object = None,
        queue_exclusive: object = None,
        queue_durable: object = None,
    ) -> None:
        if app is None:
            raise TypeError("of which app? Use app.events.Receiver()")
        self.app = app
        self.handlers = dict(handlers or {})
        self.routing_key = routing_key
        self.node_id = node_id or str(uuid4())
        self.accept = accept or ("json",)
        #: Set it to end `capture`.
        self.should_stop = False
        #: Why nothing is heard just now: the store is away. None while all is well.
        self.trouble: OperationalError | None = None
        exchange = app.conf.event_exchange
        rest = routing_key.replace("#", "*")
        self._topic = f"{exchange}/{rest.partition('*')[0]}{'*' if '*' in rest else ''}"
        self._listening: Listening | None = None

    def capture(self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True) -> None:
        """Hear events and handle them: so many, or until none comes for `timeout` seconds, or for ever.

        TimeoutError when none came in time. With `wakeup` all workers are asked to tell of themselves first.
        """
        for _ in self.itercapture(limit, timeout, wakeup):
            pass

    def itercapture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> Iterator[list[Fields]]:
        """The same, and gives what it has handled each time."""
        with self:
            if wakeup:
                self.wakeup_workers()
            heard = 0
            deadline = None if timeout is None else time.monotonic() + timeout
            while not self.should_stop and (limit is None or heard < limit):
                events = self._hear(TICK if deadline is None else min(TICK, deadline - time.monotonic()))
                if events:
                    events = events if limit is None else events[: limit - heard]
                    heard += len(events)
                    for event in events:
                        self.process(event["type"], event)
                    yield events
                    deadline = None if timeout is None else time.monotonic() + timeout
                elif deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(f"no event came within {timeout:g} s")

    def process(self, type: str, event: Fields) -> None:
        """Hand one event to its handler."""
        handler = self.handlers.get(type) or self.handlers.get("*")
        if handler is not None:
            handler(event)

    def wakeup_workers(self, channel: object = None) -> None:
        """Ask all workers to tell of themselves now."""
        with contextlib.suppress(OperationalError):
            self.app.control.heartbeat()

    def event_from_message(self, body: Fields, **_options: Any) -> tuple[str, Fields]:
        """An event as it came, completed by the time at which we heard of it."""
        body["local_received"] = now = time.time()
        if not isinstance(body.get("timestamp"), int | float):
            body["timestamp"] = now  # it was given as a date, or not at all
        clock.hear(body.get("clock"))
        return body["type"], body

    def close(self) -> None:
        """Hear no more; may be called twice."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()

    def __enter__(self) -> Self:
        if self._listening is None:
            self._listening = self.app.bus.listen([self._topic])
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hear(self, wait: float) -> list[Fields]:
        listening = self._listening
        assert listening is not None, "it was closed"
        try:
            payloads = listening.hear(max(0.0, wait))
            self.trouble = None
        except OperationalError as error:
            self.trouble = error
            time.sleep(min(PAUSE, max(0.0, wait)))
            return []
        events: list[Fields] = []
        for _, payload in payloads:
            # Whoever may publish here may write nonsense, and a monitor goes on.
            with contextlib.suppress(CeleriacError):
                events += [self.event_from_message(one)[1] for one in unpack_events(payload, self.accept)]
        return events

    @property
    def state(self) -> State:
        """A new State, for those who want to keep what they hear."""
        return State()
