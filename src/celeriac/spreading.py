"""One call for several queues: what goes to a topic or fanout exchange becomes a message for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from celeriac.message import Message
from celeriac.ports import Broker


class Sender(Protocol):
    """Whose broker is only opened if it is needed."""

    @property
    def broker(self) -> Broker: ...


def spread(messages: Sequence[Message], sender: Sender) -> Sequence[Message]:
    """The messages as the store gets them; who listens to a fanout exchange without a queue is told here."""
    for message in messages:
        if message.fanout is not None:
            sender.broker.announce(*message.fanout, message.payload)
    return copied(messages)


def copied(messages: Sequence[Message]) -> Sequence[Message]:
    """One message for each queue. Nobody is told of them: they are not sent yet."""
    if not any(message.copies is not None for message in messages):
        return messages
    all_of_them: list[Message] = []
    for message in messages:
        queues = (message.queue,) if message.copies is None else message.copies
        all_of_them += [msgspec.structs.replace(message, queue=queue, copies=None) for queue in queues]
    return all_of_them
