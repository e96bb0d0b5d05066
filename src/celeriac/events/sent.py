"""`task_send_sent_event`: producers tell of each task that they send. A middleware like any other."""

from __future__ import annotations

import os
from collections.abc import Iterator

from celeriac.conversation import Speaker
from celeriac.events.dispatcher import EventDispatcher
from celeriac.exceptions import DecodeError
from celeriac.middleware import Call, Middleware
from celeriac.wire.task import unpack


class TellingOfSent(Middleware):
    """Says `task-sent` when a call was sent."""

    def __init__(self, app: Speaker) -> None:
        self._app = app
        self._dispatcher: EventDispatcher | None = None

    def around_send(self, call: Call) -> Iterator[None]:
        yield
        if call.message is None:
            return
        try:
            told = unpack(call.message.payload)
        except DecodeError:
            return  # in a serializer that is not accepted here
        self._of_this_process().send(
            "task-sent",
            uuid=told.id,
            root_id=told.root_id,
            parent_id=told.parent_id,
            name=told.name,
            args=told.argsrepr,
            kwargs=told.kwargsrepr,
            retries=told.retries,
            eta=told.eta,
            expires=told.expires,
            queue=call.message.queue,
            exchange=told.exchange,
            routing_key=told.routing_key,
        )

    def _of_this_process(self) -> EventDispatcher:
        dispatcher = self._dispatcher
        if dispatcher is None or dispatcher.pid != os.getpid():
            dispatcher = self._dispatcher = EventDispatcher(app=self._app)
        return dispatcher
