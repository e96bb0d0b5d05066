"""What stock Celery's workers hold in this Redis, for an ETA too, or left there when they were killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from celeriac.drivers.redis import exchanges, scripts
from celeriac.drivers.redis.keys import Keys
from celeriac.drivers.redis.scanning import scanned

#: Runs a script of ours.
Run = Callable[..., Any]


class _Properties(msgspec.Struct):
    priority: int = 0


class _Envelope(msgspec.Struct):
    properties: _Properties


def put_back(operate: exchanges.Operate, run: Run, keys: Keys) -> int:
    """Each goes to the head of its queue, in one step; returns how many."""
    count = 0
    for tag, envelope, exchange, key in held(operate, keys):
        # Of a queue that nobody has declared kombu knows no more than its name, which is its key.
        bound = [one.queue for one in exchanges.bindings(operate, keys, exchange) if one.key == key]
        try:
            priority = msgspec.json.decode(envelope, type=_Envelope).properties.priority
        except msgspec.ValidationError:
            priority = 0
        ready = keys.ready(bound[0] if bound else key, priority)
        count += run(scripts.PUT_BACK, [keys.foreign, keys.foreign_index, ready], tag, envelope)
    return count


def held(operate: exchanges.Operate, keys: Keys) -> Iterator[tuple[bytes, bytes, str, str]]:
    """Tag, envelope, exchange and key of each."""
    for flat in scanned(operate, "HSCAN", keys.foreign):
        for tag, stored in zip(flat[::2], flat[1::2], strict=True):
            envelope, exchange, key = msgspec.json.decode(stored, type=tuple[msgspec.Raw, str, str])
            yield tag, bytes(envelope), exchange, key
