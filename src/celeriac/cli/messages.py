"""What a person wants to know of a message that waits somewhere."""

from __future__ import annotations

import time

from celeriac.exceptions import CeleriacError
from celeriac.wire.task import TaskMessage, sent_at, unpack

#: Looking at a queue must never run code, so nothing but JSON is decoded for it.
_HARMLESS = ("json",)


def describe(payload: bytes) -> dict[str, object]:
    """A row of its id, task and arguments; for bytes that are no task message it says so."""
    try:
        message = unpack(payload)
    except CeleriacError as error:
        return {"name": f"(no task message: {len(payload)} bytes, {error})"}
    args, kwargs = _arguments(message)
    sent = sent_at(message)
    return {
        "id": message.id,
        "name": message.name,
        "args": args,
        "kwargs": kwargs,
        "eta": message.eta,
        "retries": message.retries,
        "age": None if sent is None else max(0.0, round(time.time() - sent, 3)),
    }


def _arguments(message: TaskMessage) -> tuple[str | None, str | None]:
    """As the sender wrote them for people; senders of old did not."""
    if message.argsrepr is not None and message.kwargsrepr is not None:
        return message.argsrepr, message.kwargsrepr
    try:
        args, kwargs, _ = message.arguments(_HARMLESS)
    except CeleriacError:
        return message.argsrepr, message.kwargsrepr
    return repr(tuple(args)), repr(kwargs)
