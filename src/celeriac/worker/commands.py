"""The commands of remote control, each a function of a node; names, answers and their words are Celery's."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from importlib import import_module, reload
from sys import modules as imported
from typing import Any

from celeriac import revoking
from celeriac.exceptions import CeleriacError, ImproperlyConfigured
from celeriac.logical import clock
from celeriac.message import Claim
from celeriac.panel import Handler, Panel, nok, ok
from celeriac.queues import check_queue_name
from celeriac.rates import interval_of
from celeriac.wire.task import TaskMessage, unpack
from celeriac.worker import described
from celeriac.worker.child import resident_kib
from celeriac.worker.node import Node, Running, reserved, running
from celeriac.worker.orders import set_limits

#: Most tasks that one answer lists of what waits or is revoked: an answer is read by a person.
MOST_LISTED = 1000

logger = logging.getLogger("celery.worker.control")

#: The attributes that `registered` tells where none are asked for.
_TASK_INFO = ("exchange", "routing_key", "rate_limit")

commands = Panel()
_memory: deque[str] = deque(maxlen=1000)


def inspect(**options: Any) -> Callable[[Handler], Handler]:
    registered: Callable[[Handler], Handler] = commands.register(type="inspect", **options)
    return registered


def control(**options: Any) -> Callable[[Handler], Handler]:
    registered: Callable[[Handler], Handler] = commands.register(type="control", **options)
    return registered


# --- what there is to see ---------------------------------------------------------------------------------


@inspect(default_timeout=0.2)
def ping(node: Node, **_: Any) -> Any:
    """Ping worker(s)."""
    return ok("pong")


@inspect(alias="dump_active")
def active(node: Node, safe: object = None, **_: Any) -> Any:
    """List of tasks currently being executed."""
    return [described.running_task(node, one) for one in running(node)]


@inspect(alias="dump_reserved")
def reserved_(node: Node, **_: Any) -> Any:
    """List of currently reserved tasks, not including scheduled/active."""
    return [info for claim in reserved(node) if (info := described.task_in(node, claim.payload)) is not None]


@inspect(alias="dump_schedule")
def scheduled(node: Node, **_: Any) -> Any:
    """List of currently scheduled ETA/countdown tasks."""
    return list(described.scheduled_tasks(node, MOST_LISTED))


@inspect(alias="dump_revoked")
def revoked(node: Node, **_: Any) -> Any:
    """List of revoked task-ids."""
    return node.broker.revokes(MOST_LISTED)


@inspect(alias="dump_tasks", variadic="taskinfoitems", signature="[attr1 [attr2 ... [attrN]]]")
def registered(
    node: Node, taskinfoitems: Sequence[str] | None = None, builtins: bool = False, **_: Any
) -> Any:
    """List of registered tasks."""
    names = sorted(name for name in node.app.tasks if builtins or not name.startswith("celery."))
    wanted = taskinfoitems or _TASK_INFO
    return [described.registered_task(node, name, wanted) for name in names]


commands["registered_tasks"] = registered


@inspect(args=[("ids", str)], variadic="ids", signature="[id1 [id2 ... [idN]]]")
def query_task(node: Node, ids: Any, **_: Any) -> Any:
    """Query for task information by id."""
    wanted = {ids} if isinstance(ids, str) else set(ids)
    found: dict[str, Any] = {}
    for one in running(node):
        info = described.running_task(node, one)
        found[info["id"]] = ["active", info]
    for info in reserved_(node):
        found.setdefault(info["id"], ["reserved", info])
    if wanted - found.keys():
        for entry in described.scheduled_tasks(node, MOST_LISTED):
            info = entry["request"]
            found.setdefault(info["id"], ["scheduled", info])
    return {id: found[id] for id in wanted if id in found}


@inspect()
def active_queues(node: Node, **_: Any) -> Any:
    """List the task queues a worker is currently consuming from."""
    return [described.queue(name) for name in node.queues]


@inspect()
def stats(node: Node, **_: Any) -> Any:
    """Request worker statistics/information."""
    at_once = 1 if node.options.pool in ("prefork", "solo") else described.rooms(node)
    return {
        "total": node.totals.all(),
        "pid": os.getpid(),
        "clock": str(clock.value),
        "uptime": int(time.time() - node.started_at),
        "pool": described.pool(node),
        "broker": described.broker(node),
        "prefetch_count": node.size * at_once,
        "rusage": described.usage(),
        **node.more_stats(),
    }


@inspect()
def report(node: Node, **_: Any) -> Any:
    """Information about Celery installation for bug reports."""
    return ok(node.app.bugreport())


@inspect(alias="dump_conf", signature="[include_defaults=False]", args=[("with_defaults", bool)])
def conf(node: Node, with_defaults: bool = False, **_: Any) -> Any:
    """List configuration."""
    return node.app.conf.table(with_defaults=bool(with_defaults))


@inspect(name="clock")
def clock_(node: Node, **_: Any) -> Any:
    """Get current logical clock value."""
    return {"clock": clock.value}


@inspect(visible=False)
def hello(node: Node, from_node: str, revoked: object = None, **_: Any) -> Any:
    """Request mingle sync-data."""
    # Revokes are in the store, where a stock worker does not look: it learns those that were said last.
    now = time.time()
    return {"revoked": dict.fromkeys(node.broker.revokes(MOST_LISTED), now), "clock": clock.tick()}


@inspect()
def memsample(node: Node, **_: Any) -> Any:
    """Sample current RSS memory usage."""
    said = f"{resident_kib() / 1024:.2f}MB"
    _memory.append(said)
    return said


@inspect(args=[("samples", int)], signature="[n_samples=10]")
def memdump(node: Node, samples: int = 10, **_: Any) -> Any:
    """Dump statistics of previous memsample requests."""
    return list(_memory)[-int(samples) :]


@inspect(signature="[object_type=Request] [num=200 [max_depth=10]]")
def objgraph(node: Node, **_: Any) -> Any:
    """Not offered: a task can run any profiler in its own process."""
    return nok("objgraph is not offered: see docs/celery-differences.md")


# --- what there is to do ----------------------------------------------------------------------------------


@control(args=[("task_id", str)], variadic="task_id", signature="[id1 [id2 ... [idN]]]")
def revoke(
    node: Node, task_id: Any, terminate: bool = False, signal: Any = None, kept: bool = False, **_: Any
) -> Any:
    """Revoke task by task id (or list of ids)."""
    ids = {task_id} if isinstance(task_id, str) else {str(id) for id in task_id or ()}
    if not kept:
        revoking.revoke(node.app, sorted(ids))
    if not terminate:
        logger.info("Tasks flagged as revoked: %s", ", ".join(sorted(ids)))
        return ok(f"tasks {ids} flagged as revoked")
    ended = _terminate(node, [one for one in running(node) if _id(one.claim) in ids], signal)
    return ok("terminate: " + (", ".join(ended) or "tasks unknown"))


@control(args=[("signal", str), ("task_id", str)], variadic="task_id", signature="<signal> [id1 ... [idN]]")
def terminate(node: Node, signal: Any, task_id: Any, **_: Any) -> Any:
    """Terminate task by task id (or list of ids)."""
    return revoke(node, task_id, terminate=True, signal=signal)


@control(
    args=[("key_value", str)], variadic="headers", signature="[key1=value1 [key2=value2 ... [keyN=valueN]]]"
)
def revoke_by_stamped_headers(
    node: Node, headers: Any, terminate: bool = False, signal: Any = None, kept: bool = False, **_: Any
) -> Any:
    """Revoke task by header (or list of headers)."""
    if isinstance(headers, list):
        for pair in headers:
            if "=" not in pair:
                return nok(f"{pair!r} is not of the form key=value")
        headers = dict(pair.split("=", 1) for pair in headers)
    if not kept:
        revoking.revoke_stamps(node.app, headers)
    if not terminate:
        return ok(f"headers {headers} flagged as revoked, but not terminated")
    wanted = set(revoking.stamps_as_ids(headers))
    ended = _terminate(node, [one for one in running(node) if wanted & _stamps(one.claim)], signal)
    return ok("terminate: " + (", ".join(ended) or "tasks unknown"))


@control(
    args=[("task_name", str), ("rate_limit", str)],
    signature="<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>",
)
def rate_limit(node: Node, task_name: str, rate_limit: Any, **_: Any) -> Any:
    """Tell worker(s) to modify the rate limit for a task by type."""
    try:
        interval = interval_of(rate_limit)
    except ImproperlyConfigured as error:
        return nok(f"Invalid rate limit string: {error}")
    if task_name not in node.app.tasks:
        return nok("unknown task")
    node.app.tasks[task_name].rate_limit = rate_limit
    node.tell("rate", task_name, rate_limit, name=f"rate {task_name}")
    if interval is None:
        logger.info("Rate limits disabled for tasks of type %s", task_name)
        return ok("rate limit disabled successfully")
    logger.info("New rate limit for tasks of type %s: %s.", task_name, rate_limit)
    return ok("new rate limit set successfully")


@control(
    args=[("task_name", str), ("soft", float), ("hard", float)],
    signature="<task_name> <soft_secs> [hard_secs]",
)
def time_limit(
    node: Node, task_name: str | None = None, hard: float | None = None, soft: float | None = None, **_: Any
) -> Any:
    """Tell worker(s) to modify the time limit for task by type."""
    if task_name is None or task_name not in node.app.tasks:
        return nok("unknown task")
    soft, hard = (None if limit is None else float(limit) for limit in (soft, hard))
    set_limits(node.app, task_name, soft, hard)
    node.tell("limits", task_name, soft, hard, name=f"limits {task_name}")
    logger.info("New time limits for tasks of type %s: soft=%s hard=%s", task_name, soft, hard)
    return ok("time limits set successfully")


@control(
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue> [exchange [type [routing_key]]]",
)
def add_consumer(node: Node, queue: Any, **_: Any) -> Any:
    """Tell worker(s) to consume from task queue by name."""
    try:
        check_queue_name(queue)
    except ValueError as error:
        return nok(str(error))
    if queue in node.queues:
        return ok(f"already consuming from {queue!r}")
    node.serve([*node.queues, queue])
    return ok(f"add consumer {queue}")


@control(args=[("queue", str)], signature="<queue>")
def cancel_consumer(node: Node, queue: str, **_: Any) -> Any:
    """Tell worker(s) to stop consuming from task queue by name."""
    node.serve([name for name in node.queues if name != queue])
    return ok(f"no longer consuming from {queue}")


@control(args=[("n", int)], signature="[N=1]")
def pool_grow(node: Node, n: int = 1, **_: Any) -> Any:
    """Grow pool by n processes/threads."""
    if _autoscales(node):
        return nok("pool_grow is not supported with autoscale. Adjust autoscale range instead.")
    node.pool_grow(int(n))
    return ok("pool will grow")


@control(args=[("n", int)], signature="[N=1]")
def pool_shrink(node: Node, n: int = 1, **_: Any) -> Any:
    """Shrink pool by n processes/threads."""
    if _autoscales(node):
        return nok("pool_shrink is not supported with autoscale. Adjust autoscale range instead.")
    node.pool_shrink(int(n))
    return ok("pool will shrink")


@control()
def pool_restart(
    node: Node, modules: Sequence[str] | None = None, reload: bool = False, reloader: object = None, **_: Any
) -> Any:
    """Restart execution pool."""
    if not node.app.conf.worker_pool_restarts:
        raise ValueError("Pool restarts not enabled")
    for name in modules or ():
        _import(name, again=reload)
    node.pool_restart()
    return ok("reload started")


@control(args=[("max", int), ("min", int)], signature="[max [min]]")
def autoscale(node: Node, max: int | None = None, min: int | None = None, **_: Any) -> Any:
    """Modify autoscale settings."""
    scaler = getattr(node, "autoscaler", None)
    if scaler is None:
        raise ValueError("Autoscale not enabled")
    high, low = scaler.update(*(None if bound is None else int(bound) for bound in (max, min)))
    return ok(f"autoscale now max={high} min={low}")


@control()
def enable_events(node: Node, **_: Any) -> Any:
    """Tell worker(s) to send task-related events."""
    if node.tells_events:
        return ok("task events already enabled")
    node.tell_events(True)
    logger.info("Events of group {task} enabled by remote.")
    return ok("task events enabled")


@control()
def disable_events(node: Node, **_: Any) -> Any:
    """Tell worker(s) to stop sending task-related events."""
    if not node.tells_events:
        return ok("task events already disabled")
    node.tell_events(False)
    logger.info("Events of group {task} disabled by remote.")
    return ok("task events disabled")


@control()
def heartbeat(node: Node, **_: Any) -> Any:
    """Tell worker(s) to send event heartbeat immediately."""
    node.tell_of_itself()


@control()
def shutdown(node: Node, msg: str = "Got shutdown from remote", **_: Any) -> Any:
    """Shutdown worker(s)."""
    logger.warning(msg)
    node.shut_down()


@control(visible=False)
def election(node: Node, **_: Any) -> Any:
    """Not offered: workers elect nobody."""
    return nok("elections are not offered: what is to happen once, is a task")


commands["reserved"] = commands.pop("reserved_")
commands.meta["reserved"] = commands.meta.pop("reserved_")._replace(name="reserved")


# --- what they are made of --------------------------------------------------------------------------------


def _message(claim: Claim) -> TaskMessage | None:
    try:
        return unpack(claim.payload)
    except CeleriacError:
        return None


def _id(claim: Claim) -> str | None:
    message = _message(claim)
    return None if message is None else message.id


def _stamps(claim: Claim) -> set[str]:
    """Under which ids a revoke of one of its stamps would be kept."""
    message = _message(claim)
    return set() if message is None else set(revoking.stamps_as_ids(message.stamps or {}))


def _terminate(node: Node, found: Sequence[Running], said: Any) -> list[str]:
    signum = _signal(said)
    ended = []
    for one in found:
        node.terminate(one, signum)
        id = _id(one.claim) or ""
        logger.warning("Terminating %s (%s)", id, signal.Signals(signum).name)
        ended.append(id)
    return ended


def _signal(said: Any) -> int:
    """SIGTERM, TERM, 15."""
    if said is None:
        return signal.SIGTERM
    if isinstance(said, int) or str(said).isdigit():
        return signal.Signals(int(said))
    name = str(said).upper()
    return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]


def _autoscales(node: Node) -> bool:
    return getattr(node, "autoscaler", None) is not None


def _import(name: str, *, again: bool) -> None:
    if again and name in imported:
        reload(imported[name])
    else:
        import_module(name)
