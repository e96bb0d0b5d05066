"""What celeriac and stock Celery put on the list for the same call, field by field."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import redis

from celeriac import Celery
from celeriac.wire.task import unpack
from interop import shop
from interop.conftest import Customer

#: Where our message differs from Celery's on purpose.
KNOWN = {
    # Ours is Python's own repr: a backslash is doubled, bytes are shown as bytes.
    "kwargs": {".headers.kwargsrepr"},
    "rich": {".headers.argsrepr"},
    # Theirs leaves the offset to be guessed: it means UTC, and ours says so.
    "naive eta": {".headers.eta"},
    # Theirs repeats reply_to, ours root_id and parent_id, which the worker says anyhow with the next step.
    "chain": {f".body[2].chain[{step}].options.<fields>" for step in (0, 1)},
}


@pytest.mark.parametrize("name", shop.CALLS)
def test_both_producers_write_the_same_message(
    ours: Any, stock: Customer, store: redis.Redis, name: str
) -> None:
    stock("shop.make_call(app, name)", name=name)
    theirs = taken(store)
    shop.make_call(ours, name)
    written = taken(store)
    differences = list(compared(theirs, written))
    assert {place for place, *_ in differences} == KNOWN.get(name, set()), differences


def test_ready_messages_lie_in_the_same_lists(ours: Any, stock: Customer, store: redis.Redis) -> None:
    add = ours.tasks["shop.add"]
    lists = []
    for priority in range(10):
        stock(
            "app.tasks['shop.add'].apply_async((1, 1), queue='nobodys', priority=priority)", priority=priority
        )
        theirs = store.keys("nobodys*")
        store.delete(*theirs)
        add.apply_async((1, 1), queue=shop.NOBODYS, priority=priority)
        assert store.keys("nobodys*") == theirs
        store.delete(*theirs)
        lists += theirs
    assert len(set(lists)) == 4


def test_waiting_messages_are_read_by_kombu(ours: Any, stock: Customer, store: redis.Redis) -> None:
    """`LLEN` and `LRANGE celery 0 99` show what waits, as autoscalers and monitors expect."""
    queue = "celery"
    for number in range(3):
        ours.tasks["shop.describe"].apply_async(
            (number, shop.RICH[0]), {"y": shop.RICH[4]}, headers={"tenant": "t1"}
        )
    try:
        seen = stock(
            """
            from kombu.utils.json import loads
            with app.connection_for_read() as connection:
                channel = connection.default_channel
                envelopes = channel.client.lrange(queue, 0, 99)
                messages = [channel.message_to_python(loads(envelope)) for envelope in envelopes]
                waiting = channel.queue_declare(queue, passive=True).message_count
            answer = {
                "llen": channel.client.llen(queue),
                "waiting": waiting,
                "bodies": [repr(message.decode()[:2]) for message in messages],
                "headers": [[message.headers[name] for name in ("task", "tenant")] for message in messages],
            }
            """,
            queue=queue,
        )
    finally:
        store.delete(queue)
    newest_first = [repr([[number, shop.RICH[0]], {"y": shop.RICH[4]}]) for number in (2, 1, 0)]
    assert seen == {
        "llen": 3,
        "waiting": 3,
        "bodies": newest_first,
        "headers": [["shop.describe", "t1"]] * 3,
    }


def test_their_waiting_messages_are_seen_by_ours(ours: Any, stock: Customer, store: redis.Redis) -> None:
    sent = stock(
        """
        add = app.tasks["shop.add"]
        calls = [add.apply_async((number, 0), queue="nobodys", priority=3 * number) for number in range(3)]
        answer = [call.id for call in calls]
        """
    )
    try:
        assert ours.broker.depth([shop.NOBODYS])[shop.NOBODYS].ready == 3
        waiting = ours.broker.peek(shop.NOBODYS, 100)
        assert [unpack(payload).id for payload in waiting] == sent
    finally:
        assert ours.broker.purge(shop.NOBODYS) == 3
    assert store.keys(f"{shop.NOBODYS}*") == []


def test_a_common_prefix_of_all_keys_is_understood_by_both(
    url: str, stock: Customer, store: redis.Redis
) -> None:
    prefix = {"global_keyprefix": "till:"}
    options = {"broker_transport_options": prefix, "result_backend_transport_options": prefix}
    stock(
        """
        from celery import Celery
        till = shop.open_shop(Celery, app.conf.broker_url, set_as_current=False, **options)
        till.tasks["shop.add"].apply_async((1, 2), queue="nobodys", task_id="of the till")
        app.till = till
        """,
        options=options,
    )
    with shop.open_shop(Celery, url, set_as_current=False, **options) as ours:
        assert [unpack(payload).id for payload in ours.broker.peek(shop.NOBODYS, 9)] == ["of the till"]
        ours.tasks["shop.add"].update_state("of the till", "SUCCESS", 3)
    assert stock("answer = app.till.AsyncResult('of the till').get(timeout=20); app.till.close()") == 3
    assert store.delete("till:nobodys", "till:celery-task-meta-of the till") == 2


# --- how messages are compared ----------------------------------------------------------------------------


def taken(store: redis.Redis) -> dict[str, Any]:
    """The envelope of the one message that was sent to nobody, be it delayed or not; it is removed."""
    delayed = f"celeriac:delayed:{shop.NOBODYS}"
    lists = store.keys(f"{shop.NOBODYS}*")
    payloads = [payload for key in lists for payload in store.lrange(key, 0, -1)]
    payloads += [waiting.split("\n", 2)[2] for waiting in store.zrange(delayed, 0, -1)]
    store.delete(delayed, *lists)
    (payload,) = payloads
    envelope: dict[str, Any] = json.loads(payload)
    if envelope["content-type"] == "application/json" and "compression" not in envelope["headers"]:
        envelope["body"] = json.loads(base64.b64decode(envelope["body"]))
    return envelope


def compared(theirs: Any, ours: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(place, theirs, ours) wherever the two differ: in the order of fields, in types, in values."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if list(theirs) != list(ours):
            yield f"{place}.<fields>", list(theirs), list(ours)
        for field in theirs.keys() & ours.keys():
            yield from compared(theirs[field], ours[field], f"{place}.{field}")
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for index, (their, our) in enumerate(zip(theirs, ours, strict=True)):
            yield from compared(their, our, f"{place}[{index}]")
    elif type(theirs) is not type(ours) or not alike(place, theirs, ours):
        yield place, theirs, ours


def alike(place: str, theirs: Any, ours: Any) -> bool:
    """Equal, but for what must differ between two processes and from one moment to the next."""
    if place == ".properties.delivery_tag":
        return all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", tag) for tag in (theirs, ours))
    if place == ".headers.origin":
        return re.sub(r"\d+", "", theirs, count=1) == re.sub(r"\d+", "", ours, count=1)
    if place == ".properties.reply_to":
        # A thread's id there, which only the backend "rpc" looks at.
        return ours in ("", theirs)
    if place == ".properties.expiration":
        return abs(int(theirs) - int(ours)) < 10_000
    if place in (".headers.eta", ".headers.expires") and theirs is not None:
        moments = [datetime.fromisoformat(moment) for moment in (theirs, ours)]
        return moments[0].tzinfo is not None and abs((moments[0] - moments[1]).total_seconds()) < 10
    return bool(theirs == ours)
