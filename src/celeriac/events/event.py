"""An event: a mapping with a type, a time, and what there is to say."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

#: An event as it travels.
Fields = dict[str, Any]


def Event(
    type: str,
    _fields: Mapping[str, Any] | None = None,
    __now__: Callable[[], float] = time.time,
    **fields: Any,
) -> Fields:
    """An event of this type, with the present time unless the fields give one.

    >>> Event("task-sent", uuid="a", timestamp=1.0)
    {'uuid': 'a', 'timestamp': 1.0, 'type': 'task-sent'}
    """
    event = {**(_fields or {}), **fields}
    event.setdefault("timestamp", __now__())
    event["type"] = type
    return event


def group_from(type: str) -> str:
    """What an event is about, `task` of `task-sent`.

    >>> group_from("worker-online")
    'worker'
    """
    return type.partition("-")[0]


def utcoffset() -> float:
    """Hours that this machine's clock is behind UTC."""
    return (time.altzone if time.localtime().tm_isdst > 0 else time.timezone) / 3600
