"""`app.events`: what deals with events, bound to one app."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from celeriac.conversation import Speaker
from celeriac.events.dispatcher import EventDispatcher
from celeriac.events.receiver import EventReceiver
from celeriac.events.state import State


class Events:
    """`app.events.Receiver(handlers=...)`, `app.events.default_dispatcher()`, `app.events.State()`."""

    def __init__(self, app: Speaker) -> None:
        self.app = app
        self.Receiver = partial(EventReceiver, app=app)
        self.Dispatcher = partial(EventDispatcher, app=app)
        self.State = State

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
