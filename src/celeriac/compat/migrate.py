"""`celery.contrib.migrate`: messages that wait are moved to other queues, by their ids, names or contents.

    move_by_taskmap({"shop.pay": "money"})
    move(lambda body, message: message.headers["id"] in wanted, routing_key="other", exchange="")

Each is moved in one step of the store, so it is always in one of the two queues. Messages that wait for an
ETA stay until they are due. From one broker to another goes `celeriac migrate`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

from celeriac.app import Celery
from celeriac.compat.nodenames import worker_direct
from celeriac.current import get_current_app
from celeriac.exceptions import CeleriacError
from celeriac.message import Claim, Fate, Message, Outcome
from celeriac.wire.task import TaskMessage, unpack

__all__ = [
    "State",
    "StopFiltering",
    "move",
    "move_by_idmap",
    "move_by_taskmap",
    "move_direct",
    "move_direct_by_id",
    "move_task_by_id",
    "task_id_eq",
    "task_id_in",
]

#: Messages of one step, and seconds that nobody else may take them meanwhile.
_BATCH, _LEASE = 100, 60.0

Predicate = Callable[[Any, "Waiting"], Any]


class StopFiltering(Exception):
    """Raised by a predicate: it has seen enough."""


class State:
    """How far it is."""

    def __init__(self) -> None:
        #: Messages that were looked at, and of these the moved ones.
        self.count = 0
        self.filtered = 0
        self.total_apx = 0

    @property
    def strtotal(self) -> str:
        return str(self.total_apx) if self.total_apx else "?"

    def __repr__(self) -> str:
        if self.filtered:
            return f"^{self.filtered}"
        return f"{self.count}/{self.strtotal}"


class Waiting:
    """A message as a predicate sees it: `headers`, `properties`, `delivery_info`, `content_type`."""

    def __init__(self, envelope: dict[str, Any]) -> None:
        self.envelope = envelope
        self.headers: dict[str, Any] = envelope.get("headers") or {}
        self.properties: dict[str, Any] = envelope.get("properties") or {}
        self.delivery_info: dict[str, Any] = self.properties.get("delivery_info") or {}
        self.content_type: str | None = envelope.get("content-type")
        self.content_encoding: str | None = envelope.get("content-encoding")


def move(
    predicate: Predicate,
    connection: object = None,
    exchange: Any = None,
    routing_key: str | None = None,
    source: Iterable[Any] | None = None,
    app: Celery | None = None,
    callback: Callable[[State, Any, Waiting], object] | None = None,
    limit: int | None = None,
    transform: Callable[[Any], Any] | None = None,
    queues: Iterable[Any] | None = None,
    **_: Any,
) -> State:
    """Move what the predicate wants, called with (body, message): to the queue that it returns, to its
    (exchange, routing_key), or for any other true value to the ones given here.

    Looks through `queues` (or `source`), else all that the app declares; `limit` ends it after so many looks.
    """
    found: Celery = get_current_app() if app is None else app
    names = [getattr(queue, "name", queue) for queue in (queues or source or found.router.consumed())]
    broker, state = found.broker, State()
    state.total_apx = sum(depth.ready for depth in broker.depth(names).values())
    node = f"migrate:{uuid4().hex}"
    owner = f"{node}/1x1"
    destination = partial(_destination, found, (exchange, routing_key), transform)
    mover = found.open_worker_broker()
    try:
        mover.consume(names)
        mover.enlist(owner, node, _LEASE)
        outcomes: list[Outcome] = []
        with suppress(StopFiltering):
            while limit is None or state.count < limit:
                most = _BATCH if limit is None else min(_BATCH, limit - state.count)
                claims = mover.turn(owner, outcomes, most)
                outcomes = []
                mover.beat(node, _LEASE)
                if not claims:
                    break
                for claim in claims:
                    outcomes += _moved(found, claim, predicate, destination, state, callback)
        mover.turn(owner, outcomes, 0)
    finally:
        # What was not wanted goes back in its order.
        mover.dismiss(owner)
        mover.close()
    return state


def task_id_eq(task_id: str, body: Any, message: Waiting) -> bool:
    """Predicate: the task of this id."""
    return _id(message) == task_id


def task_id_in(ids: Container[str | None], body: Any, message: Waiting) -> bool:
    """Predicate: a task of one of these ids."""
    return _id(message) in ids


def move_task_by_id(task_id: str, dest: Any, **kwargs: Any) -> State:
    """Move one task to another queue."""
    return move_by_idmap({task_id: dest}, **kwargs)


def move_by_idmap(map: Mapping[str, Any], **kwargs: Any) -> State:
    """Move tasks to the queues that stand beside their ids."""
    return move(lambda _body, message: map.get(_id(message) or ""), **kwargs)


def move_by_taskmap(map: Mapping[str, Any], **kwargs: Any) -> State:
    """Move tasks to the queues that stand beside their names."""
    return move(lambda _body, message: map.get(message.headers.get("task") or ""), **kwargs)


#: The same to the queue of one worker alone, named by its host (setting worker_direct).
move_direct = partial(move, transform=worker_direct)
move_direct_by_id = partial(move_task_by_id, transform=worker_direct)


def _id(message: Waiting) -> str | None:
    return message.headers.get("id") or message.properties.get("correlation_id")


def _moved(
    app: Celery,
    claim: Claim,
    predicate: Predicate,
    destination: Callable[[TaskMessage, Any], str],
    state: State,
    callback: Callable[[State, Any, Waiting], object] | None,
) -> list[Outcome]:
    """The outcome that moves it; none if it stays."""
    state.count += 1
    try:
        task = unpack(claim.payload)
        body = task.arguments(set(app.conf.accept_content))
    except CeleriacError:
        return []  # it says nothing that a predicate could ask for
    message = Waiting(json.loads(claim.payload))
    wanted = predicate(body, message)
    if not wanted:
        return []
    queue = destination(task, wanted)
    way = {**message.delivery_info, "exchange": "", "routing_key": queue}
    message.properties["delivery_info"] = way
    payload = json.dumps(message.envelope, separators=(",", ":")).encode()
    state.filtered += 1
    if callback is not None:
        callback(state, body, message)
    return [Outcome(claim.number, Fate.ACKED, follow_ups=(Message(task.id, queue, payload, task.priority),))]


def _destination(
    app: Celery,
    otherwise: tuple[Any, str | None],
    transform: Callable[[Any], Any] | None,
    task: TaskMessage,
    said: Any,
) -> str:
    place = transform(said) if transform is not None else said
    if isinstance(place, tuple | list):
        exchange, key = place
    elif isinstance(place, str) or hasattr(place, "name"):
        return str(getattr(place, "name", place))
    else:
        exchange, key = otherwise
    if key and not getattr(exchange, "name", exchange):
        return str(key)  # the nameless exchange hands it to the queue of that name
    return app.router.route(task.name, options={"exchange": exchange, "routing_key": key}).queue
