"""`app.events`: what deals with events, bound to one app."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from celeriac import signals
from celeriac.control import Speaker
from celeriac.events.dispatcher import EventDispatcher
from celeriac.events.event import Fields
from celeriac.events.receiver import EventReceiver
from celeriac.events.state import State


class Events:
    """`app.events.Receiver(handlers=...)`, `app.events.default_dispatcher()`, `app.events.State()`."""

    def __init__(self, app: Speaker) -> None:
        self.app = app
        self.Receiver = partial(EventReceiver, app=app)
        self.Dispatcher = partial(EventDispatcher, app=app)
        self.State = State
        self._teller: EventDispatcher | None = None

    def tell_of_what_is_sent(self) -> None:
        """Send an event for each task that this process sends (the setting task_send_sent_event)."""
        if self._teller is None:
            self._teller = self.Dispatcher()
            signals.after_task_publish.connect(self._sent, weak=False)

    def _sent(self, headers: Fields, exchange: str = "", routing_key: str = "", **_named: Any) -> None:
        told: dict[str, Any] = {
            name: headers.get(name) for name in ("root_id", "parent_id", "retries", "eta", "expires")
        }
        assert self._teller is not None
        self._teller.send(
            "task-sent",
            uuid=headers.get("id"),
            name=headers.get("task"),
            args=headers.get("argsrepr"),
            kwargs=headers.get("kwargsrepr"),
            queue=routing_key,
            exchange=exchange,
            routing_key=routing_key,
            **told,
        )

    @contextmanager
    def default_dispatcher(
        self, hostname: str | None = None, enabled: bool = True, buffer_while_offline: bool = False
    ) -> Iterator[EventDispatcher]:
        """A dispatcher for some events of your own.

        with app.events.default_dispatcher() as dispatcher:
            dispatcher.send("shop-sold", article=7)
        """
        options: dict[str, Any] = {"enabled": enabled, "buffer_while_offline": buffer_while_offline}
        with self.Dispatcher(hostname=hostname, **options) as dispatcher:
            yield dispatcher
