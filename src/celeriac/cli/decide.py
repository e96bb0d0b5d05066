"""Decide what a worker is to be: the command line where it speaks, else the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from celeriac.cli import values
from celeriac.cli.greenlets import is_patched
from celeriac.cli.invocation import Invocation
from celeriac.compat.nodenames import default_nodename, host_format, node_format, nodesplit
from celeriac.config import Settings
from celeriac.worker.options import WorkerOptions


def decide(
    said: Mapping[str, Any], conf: Settings, invocation: Invocation, overrides: dict[str, object]
) -> WorkerOptions:
    """The options of a worker. `said` is the command line by click's names, None where it is silent."""
    hostname = _hostname(said["hostname"])
    start_method = _first(said["start_method"], conf.worker_pool_start_method)
    if start_method == "spawn" and invocation.app_spec is None:
        raise click.UsageError("--pool-start-method spawn: a spawned child imports the app by name: add -A")
    pool = _pool(said["pool"], conf)
    concurrency, processes = _sizes(said, conf, pool, invocation)
    time_limit, soft_time_limit = _limits(said, conf)
    return WorkerOptions(
        hostname=hostname,
        pool=pool,
        concurrency=concurrency,
        autoscale=said["autoscale"] if pool == "prefork" else None,
        processes=processes,
        queues=said["queues"],
        exclude=said["exclude_queues"] or (),
        loglevel=said["loglevel"],
        logfile=_expanded(_first(said["logfile"], conf.worker_logfile), hostname),
        log_format=said["log_format"] or ("json" if conf.worker_log_json else "text"),
        no_color=invocation.no_color,
        # In the background nobody reads it.
        quiet=invocation.quiet or bool(said["detach"]),
        max_tasks_per_child=_first(said["max_tasks_per_child"], conf.worker_max_tasks_per_child),
        max_memory_per_child=_first(said["max_memory_per_child"], conf.worker_max_memory_per_child),
        time_limit=time_limit,
        soft_time_limit=soft_time_limit,
        without_heartbeat=said["without_heartbeat"],
        heartbeat_interval=_first(said["heartbeat_interval"], 2.0),
        lease=_first(said["lease"], conf.seconds("worker_lease")),
        start_method=start_method,
        purge=said["purge"],
        include=said["include"] or (),
        health=said["health"],
        pidfile=_expanded(_first(said["pidfile"], conf.worker_pidfile), hostname),
        task_events=said["task_events"] or bool(conf.worker_send_task_events),
        beat=said["beat"],
        app_spec=invocation.app_spec,
        overrides=overrides,
    )


def _hostname(name: str | None) -> str:
    try:
        hostname = host_format(default_nodename(name))
    except ValueError as error:
        raise click.UsageError(f"-n {name}: {error}") from None
    if not all(nodesplit(hostname)):
        raise click.UsageError(f"-n {name}: a node's name is of the form name@host, as in worker1@%h")
    return hostname


def _pool(name: str | None, conf: Settings) -> Any:
    if name is None:
        try:
            name = values.pool_name(str(conf.worker_pool))
        except click.BadParameter as error:
            raise click.UsageError(f"The setting worker_pool: {error.message}") from None
    if name == "gevent" and not is_patched():
        raise click.UsageError(
            "gevent must patch the standard library before the app is imported, so it has to be seen at "
            "once: give it as `-P gevent` (an argument by itself) or as CELERY_WORKER_POOL=gevent"
        )
    return name


def _sizes(
    said: Mapping[str, Any], conf: Settings, pool: str, invocation: Invocation
) -> tuple[int | None, int | None]:
    """Rooms and children. With prefork both words mean the children."""
    concurrency: int | None = said["concurrency"]
    if concurrency is None and said["autoscale"] and pool != "prefork":
        concurrency = said["autoscale"][0]
    if concurrency is None and conf.worker_concurrency:
        concurrency = values.concurrency(str(conf.worker_concurrency))
    processes: int | None = said["processes"]
    if said["autoscale"] and pool != "prefork":
        invocation.remark(
            f"--autoscale has no effect here because rooms of -P {pool} cost next to nothing: "
            "its larger number is taken as -c."
        )
    if pool == "prefork" and processes is not None:
        if said["concurrency"] not in (None, processes):
            raise click.UsageError("With -P prefork, -c counts the processes already: leave --processes out")
        return processes, None
    if pool == "solo" and processes not in (None, 1):
        raise click.UsageError("-P solo is one process: take -P prefork for more")
    if processes is None and pool not in ("prefork", "solo"):
        processes = conf.worker_processes
    return concurrency, processes


def _limits(said: Mapping[str, Any], conf: Settings) -> tuple[float | None, float | None]:
    hard = _first(said["time_limit"], conf.seconds("task_time_limit"))
    soft = _first(said["soft_time_limit"], conf.seconds("task_soft_time_limit"))
    if hard and soft and soft > hard:
        raise click.UsageError(
            f"--soft-time-limit {soft:g} comes after --time-limit {hard:g}: no task would live to see it. "
            "soft_time_limit must be less than or equal to time_limit"
        )
    return hard, soft


def _expanded(path: str | None, hostname: str) -> str | None:
    """%p, %n, %h and %d are the node's; %i and %I are left for each child to fill in."""
    if path is None:
        return None
    try:
        return node_format(path, hostname, i="%i", I="%I")
    except ValueError as error:
        raise click.UsageError(f"{path}: {error}") from None


def _first(said: Any, configured: Any) -> Any:
    return configured if said is None else said
