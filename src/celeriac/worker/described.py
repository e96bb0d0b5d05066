"""What remote control shows of a node, in Celery's shapes: its tasks, its queues, its pool, its broker."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from celeriac.exceptions import CeleriacError
from celeriac.wire.codecs import read_by_workers
from celeriac.wire.task import unpack
from celeriac.worker.node import Node, Running


def running_task(node: Node, one: Running) -> dict[str, Any]:
    """What `active` says of a task."""
    info = task_in(node, one.claim.payload) or {"id": None, "name": None}
    return {
        **info,
        "time_start": one.since or time.time(),
        "acknowledged": one.claim.begun,
        "worker_pid": one.place.pid,
    }


def task_in(node: Node, payload: bytes) -> dict[str, Any] | None:
    """A message as Celery shows a request; None for bytes that are none."""
    try:
        message = unpack(payload)
        args, kwargs, _ = message.arguments(read_by_workers(node.app.conf.accept_content))
    except CeleriacError:
        return None
    return {
        "id": message.id,
        "name": message.name,
        "args": args,
        "kwargs": kwargs,
        "type": message.name,
        "hostname": node.hostname,
        "time_start": None,
        "acknowledged": False,
        "delivery_info": {
            "exchange": message.exchange,
            "routing_key": message.routing_key,
            "priority": message.priority,
            "redelivered": message.redelivered,
        },
        "worker_pid": None,
    }


def scheduled_tasks(node: Node, most: int) -> Iterator[dict[str, Any]]:
    """What waits for its time in the node's queues, at most so much of each."""
    for name in node.queues:
        for eta, payload in node.broker.delayed(name, most):
            info = task_in(node, payload)
            if info is not None:
                when = datetime.fromtimestamp(eta, UTC).isoformat()
                yield {"eta": when, "priority": 6, "request": info}


def registered_task(node: Node, name: str, wanted: Sequence[str]) -> str:
    """A task's name, with those of the wanted attributes that are set: "proj.add [rate_limit=10/m]"."""
    task = node.app.tasks[name]
    told = [f"{word}={value}" for word in wanted if (value := getattr(task, word, None)) is not None]
    return f"{name} [{' '.join(told)}]" if told else name


def queue(name: str) -> dict[str, Any]:
    """A queue with all that a queue of AMQP has."""
    return {
        "name": name,
        "exchange": {
            "name": name,
            "type": "direct",
            "arguments": None,
            "durable": True,
            "passive": False,
            "auto_delete": False,
            "delivery_mode": None,
            "no_declare": False,
        },
        "routing_key": name,
        "queue_arguments": None,
        "binding_arguments": None,
        "consumer_arguments": None,
        "durable": True,
        "exclusive": False,
        "auto_delete": False,
        "no_ack": False,
        "alias": None,
        "bindings": [],
        "no_declare": None,
        "expires": None,
        "message_ttl": None,
        "max_length": None,
        "max_length_bytes": None,
        "max_priority": None,
    }


def rooms(node: Node) -> int:
    """How many tasks one child runs at a time."""
    places = node.places()
    return places[0].rooms if places else 1


def pool(node: Node) -> dict[str, Any]:
    """The children, and how the work was shared among them."""
    options, places = node.options, node.places()
    done = [place.slot.done for place in places]
    total = sum(done)
    shares = [100 * one / total for one in done] if total else [0.0 for _ in done]
    return {
        "implementation": f"celeriac.worker:{options.pool}",
        "max-concurrency": node.size * rooms(node),
        "processes": [place.pid for place in places],
        "max-tasks-per-child": options.max_tasks_per_child or "N/A",
        "put-guarded-by-semaphore": False,
        "timeouts": [options.soft_time_limit or 0, options.time_limit or 0],
        "writes": {
            "total": total,
            "avg": f"{sum(shares) / len(shares) if shares else 0.0:.2f}%",
            "all": ", ".join(f"{share:.2f}%" for share in shares),
            "raw": ", ".join(map(str, done)),
            "strategy": "fair",
            "inqueues": {"total": len(places), "active": sum(place.slot.busy for place in places)},
        },
    }


def broker(node: Node) -> dict[str, Any]:
    """Where messages come from, without the password."""
    url = urlsplit(node.app.broker_url)
    try:
        port = url.port
    except ValueError:
        port = None
    return {
        "hostname": url.hostname,
        "userid": unquote(url.username) if url.username else None,
        "virtual_host": url.path.lstrip("/") or "0" if url.scheme.startswith("redis") else url.path or "/",
        "port": port or (6379 if url.scheme.startswith("redis") else None),
        "insist": False,
        "ssl": url.scheme.startswith("rediss"),
        "transport": url.scheme,
        "connect_timeout": node.app.conf.seconds("broker_connection_timeout") or 4,
        "transport_options": node.app.conf.table(True)["broker_transport_options"] or {},
        "login_method": None,
        "uri_prefix": None,
        "heartbeat": 0,
        "failover_strategy": "round-robin",
        "alternates": [],
    }


def usage() -> Mapping[str, float]:
    """What the operating system counted for this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {name.removeprefix("ru_"): getattr(used, name) for name in dir(used) if name.startswith("ru_")}
