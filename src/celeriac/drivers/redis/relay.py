"""What stock Celery says to a fanout exchange goes into the queues of ours that are bound to it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

from celeriac.drivers.redis.connection import Connection, pack
from celeriac.drivers.redis.exchanges import OURS, topic_of
from celeriac.drivers.redis.keys import Keys
from celeriac.exceptions import OperationalError
from celeriac.message import Message

#: Broadcasts that are kept while the store does not take them; then the oldest are forgotten.
MOST_SAID = 1000

logger = logging.getLogger(__name__)


class Relay:
    """Part of the lookout, whose connection it listens on. `queues`: exchange -> the queue bound to it."""

    def __init__(
        self, keys: Keys, queues: Mapping[str, str], publish: Callable[[Sequence[Message]], None]
    ) -> None:
        self._keys = keys
        self._queues = queues
        self._publish = publish
        #: What was said and is not in its queue yet.
        self._said: deque[Message] = deque(maxlen=MOST_SAID)
        self._delayed = False

    def listen(self, connection: Connection) -> None:
        """Be told over this connection of what is said."""
        for exchange in self._queues:
            channel = topic_of(self._keys, connection.address.db, exchange, "")
            # Their answers are pushed too, so none is read for.
            connection.send(pack("PSUBSCRIBE", channel, channel + "/*"))

    def hear(self, db: int, channel: bytes, payload: bytes) -> None:
        """This was said; what our own producers say lies in the queues already."""
        if payload.endswith(OURS):
            return
        for exchange, queue in self._queues.items():
            ours = topic_of(self._keys, db, exchange, "").encode()
            if channel == ours or channel.startswith(ours + b"/"):
                self._said.append(Message(str(uuid4()), queue, payload))

    def pass_on(self) -> None:
        """What cannot be stored now is tried again with the next look, under its id: nobody says it again."""
        try:
            while self._said:
                self._publish((self._said[0],))
                self._said.popleft()
                self._delayed = False
        except OperationalError as error:
            if not self._delayed:
                self._delayed = True
                logger.error("What was broadcast to this node's queues cannot be stored yet: %s", error)
