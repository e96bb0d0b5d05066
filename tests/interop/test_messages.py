"""What celeriac and stock Celery put on the list for the same call, field by field."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
import redis

from interop import shop
from interop.conftest import Customer

#: What differs from call to call, or tells who sent it.
VOLATILE = {"origin", "delivery_tag", "reply_to", "expiration"}

@pytest.fixture
def sent(ours: Any, stock: Customer, store: redis.Redis) -> Any:
    """`sent(name)`: (Celery's, ours), the envelopes of one of the shop's calls, with the lists they lay in."""

    def send(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        stock("shop.make_call(app, name)", name=name)
        theirs = taken(store)
        shop.make_call(ours, name)
        return theirs, taken(store)

    return send


@pytest.mark.parametrize("name", shop.CALLS)
def test_both_producers_write_the_same_message(sent: Any, name: str) -> None:
    theirs, ours = sent(name)
    assert shape(ours) == shape(theirs)
    assert steady(ours) == steady(theirs)


def taken(store: redis.Redis) -> dict[str, Any]:
    """The one message that waits in the queue of nobody, or there for its time; removed from there."""
    lists = [key for key in store.scan_iter(f"{shop.NOBODYS}*")]
    delayed = f"celeriac:delayed:{shop.NOBODYS}"
    found = [(key, payload) for key in lists for payload in store.lrange(key, 0, -1)]
    found += [tuple(item.split("\n")[::2]) for item in store.zrange(delayed, 0, -1)]
    store.delete(delayed, f"celeriac:bell:{shop.NOBODYS}", *lists)
    ((key, payload),) = found
    envelope = json.loads(payload)
    body = base64.b64decode(envelope["body"])
    if envelope["content-type"] == "application/json" and "compression" not in envelope["headers"]:
        envelope["body"] = json.loads(body)
    return {"key": key, "payload": payload, "envelope": envelope}


def shape(sent: dict[str, Any]) -> Any:
    """The order of all fields, and their types."""

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return [(key, of(member)) for key, member in value.items()]
        return [of(member) for member in value] if isinstance(value, list) else type(value).__name__

    return of(sent["envelope"])


def steady(sent: dict[str, Any]) -> Any:
    return sent
