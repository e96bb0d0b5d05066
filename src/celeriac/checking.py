"""What is wrong with an app before anybody has run it: modules that fail, queues nobody serves, settings
that contradict each other.

`celeriac check` tells all of it; a worker tells of its settings when it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatch
from typing import Any, Literal

import msgspec

from celeriac.app import Celery
from celeriac.drivers.opening import driver_of
from celeriac.exceptions import CeleriacError
from celeriac.importing import import_if_there, told
from celeriac.rates import interval_of
from celeriac.settings import SETTINGS
from celeriac.wire.codecs import codec_named

#: error: it will not work. warning: it will hardly do what is meant. note: good to know.
Grade = Literal["error", "warning", "note"]


class Finding(msgspec.Struct, frozen=True):
    """One thing that somebody should know."""

    grade: Grade
    #: A setting, a task, or a module.
    about: str
    says: str


class Served(msgspec.Struct, frozen=True):
    """A queue, and the tasks that go to it."""

    queue: str
    tasks: list[str]
    #: A worker without -Q serves it.
    by_default: bool


def import_all(app: Celery) -> Iterator[Finding]:
    """Import every module that declares tasks, also after one that fails."""
    for module, may_be_missing in app.task_modules():
        try:
            found = import_if_there(module)
        except (Exception, SystemExit) as error:
            yield Finding("error", module, told(module, error))
            continue
        if found is None and not may_be_missing:
            yield Finding("error", module, f"There is no module {module!r}, which imports or include names.")


def served(app: Celery) -> list[Served]:
    """Each queue with the tasks that the routes send there; tasks whose route fails are left out."""
    by_default = app.router.consumed()
    queues: dict[str, list[str]] = {queue: [] for queue in by_default}
    for name, queue in _destinations(app):
        if isinstance(queue, str):
            queues.setdefault(queue, []).append(name)
    return [Served(queue, tasks, queue in by_default) for queue, tasks in queues.items()]


def findings(app: Celery) -> list[Finding]:
    """What the settings and tasks of an app, whose modules are imported, have against each other."""
    found = [finding for look in _LOOKS for finding in look(app)]
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.grade))


#: Without a file that is named SQLite is the memory of a process.
_SQLITE_IN_MEMORY = ("sqlite:", "sqlite://", "sqlite:///", "sqlite:///:memory:")

# --- the looks, each at one thing -------------------------------------------------------------------------


def _urls(app: Celery) -> Iterator[Finding]:
    for name, url in (("broker_url", app.broker_url), ("result_backend", app.result_url)):
        try:
            if url:
                for one in url.split(";"):
                    driver_of(one.strip())
        except CeleriacError as error:
            yield Finding("error", name, str(error))
    url = app.broker_url
    if url.startswith(("memory:", "cache+memory:")) or url in _SQLITE_IN_MEMORY:
        yield Finding(
            "warning",
            "broker_url",
            f"messages of {url} stay in the process that sends them, and no other process sees them: take "
            "sqlite:///celeriac.db (a file) or redis://, or app.testing() in tests",
        )


def _periodic_tasks(app: Celery) -> Iterator[Finding]:
    declared = app.conf.beat_schedule
    if not declared:
        return
    # Only here: a worker of an app without periodic tasks shall not pay for schedules.
    from celeriac.schedules.entry import read_entry

    for name, said in declared.items():
        about = f"beat_schedule[{name!r}]"
        try:
            task = read_entry(name, said, static=True).task
        except (CeleriacError, TypeError, ValueError) as error:
            yield Finding("error", about, str(error))
            continue
        if task not in app.tasks:
            yield Finding(
                "warning",
                about,
                f"the task {task!r} is not known here: is its name right, and does a worker import it?",
            )


def _time_limits(app: Celery) -> Iterator[Finding]:
    soft, hard = app.conf.seconds("task_soft_time_limit"), app.conf.seconds("task_time_limit")
    if soft and hard and soft > hard:
        yield Finding("error", "task_soft_time_limit", _late(soft, hard))
    for name, task in _own_tasks(app):
        own_soft, own_hard = task.soft_time_limit, task.time_limit
        if own_soft is None and own_hard is None:
            continue
        softer = soft if own_soft is None else own_soft
        harder = hard if own_hard is None else own_hard
        if softer and harder and softer > harder:
            yield Finding("error", name, _late(softer, harder))


def _late(soft: float, hard: float) -> str:
    return (
        f"its soft time limit ({soft:g} s) comes after the hard one ({hard:g} s), so it is never seen: "
        "soft_time_limit must be less than or equal to time_limit"
    )


def _rates(app: Celery) -> Iterator[Finding]:
    for name, task in _own_tasks(app):
        try:
            interval_of(task.rate_limit)
        except CeleriacError as error:
            yield Finding("error", name, f"{error}. Until then it runs without a limit")


def _serializers(app: Celery) -> Iterator[Finding]:
    conf = app.conf
    accepts = conf.accept_content
    results = conf.result_accept_content or accepts
    yield from _refused("task_serializer", conf.task_serializer, "accept_content", accepts)
    yield from _refused(
        "result_serializer",
        conf.result_serializer,
        "result_accept_content" if conf.result_accept_content else "accept_content",
        results,
    )
    for name, task in _own_tasks(app):
        if task.serializer != conf.task_serializer:
            yield from _refused(name, task.serializer, "accept_content", accepts)


def _refused(about: str, serializer: str, setting: str, accepts: Iterable[str]) -> Iterator[Finding]:
    try:
        codec = codec_named(serializer)
    except CeleriacError as error:
        yield Finding("error", about, str(error))
        return
    if not {codec.name, codec.content_type} & set(accepts):
        yield Finding(
            "error",
            about,
            f"{serializer!r} is written but not read: {setting} has only {', '.join(map(str, accepts))}. "
            f"Add {serializer!r} to {setting}",
        )


def _eager(app: Celery) -> Iterator[Finding]:
    if app.conf.task_always_eager:
        yield Finding(
            "warning",
            "task_always_eager",
            "tasks run in the caller and are never sent: workers of this app get nothing. For tests see "
            "app.testing()",
        )


def _results_off(app: Celery) -> Iterator[Finding]:
    if app.result_url is not None:
        return
    for name in ("result_extended", "task_track_started", "task_store_errors_even_if_ignored"):
        if app.conf[name]:
            yield Finding(
                "warning", name, "results are off, so it changes nothing: set result_backend, or leave it out"
            )


def _pairs(app: Celery) -> Iterator[Finding]:
    """Settings of which one makes nothing of another."""
    conf = app.conf
    if conf.broker_read_url and conf.broker_write_url:
        read, write = str(conf.broker_read_url), str(conf.broker_write_url)
        if read.partition(":")[0].rstrip("s") != write.partition(":")[0].rstrip("s"):
            yield Finding(
                "error",
                "broker_read_url",
                f"workers read from {read.partition(':')[0]}:// what producers write to "
                f"{write.partition(':')[0]}://: nobody would run it. Both must name one store",
            )
    for name, url in (("broker_use_ssl", app.broker_url), ("redis_backend_use_ssl", app.result_url or "")):
        if conf[name] and not url.startswith("rediss:"):
            scheme = url.partition(":")[0] or "nothing"
            yield Finding("warning", name, f"has no effect on {scheme}://, only on redis://: leave it out")
    if conf.worker_deduplicate_successful_tasks:
        if app.result_url is None:
            yield Finding(
                "warning",
                "worker_deduplicate_successful_tasks",
                "results are off, so nobody knows what succeeded: set result_backend, or leave it out",
            )
        elif not conf.task_acks_late:
            yield Finding(
                "warning",
                "worker_deduplicate_successful_tasks",
                "task_acks_late is off, so nothing is delivered twice: leave it out, or keep task_acks_late",
            )
    if conf.task_ignore_result:
        for name in ("result_extended", "task_track_started"):
            if conf[name]:
                yield Finding("warning", name, "task_ignore_result keeps no results, so it changes nothing")
    if conf.worker_processes and conf.worker_pool in ("prefork", "processes", "solo"):
        yield Finding(
            "warning",
            "worker_processes",
            f"has no effect with worker_pool={conf.worker_pool}, where worker_concurrency counts processes",
        )


def _ways(app: Celery) -> Iterator[Finding]:
    unserved: dict[str, list[str]] = {}
    by_default = app.router.consumed()
    for name, queue in _destinations(app):
        if isinstance(queue, Exception):
            yield Finding("error", name, f"its route fails: {type(queue).__name__}: {queue}")
        elif queue not in by_default:
            unserved.setdefault(queue, []).append(name)
    for queue, names in unserved.items():
        yield Finding(
            "warning",
            f"queue {queue}",
            f"{_several(names)} {'goes' if len(names) == 1 else 'go'} there, but task_queues does not "
            "declare it: only a worker started with "
            f"-Q {queue} serves it",
        )


def _misses(app: Celery) -> Iterator[Finding]:
    """Names and patterns in settings that mean no task of this app."""
    tasks = list(app.tasks)
    for setting in ("task_routes", "task_annotations"):
        tables = app.conf[setting]
        for table in tables if isinstance(tables, list | tuple) else (tables,):
            if not isinstance(table, Mapping):
                continue
            for name in table:
                if isinstance(name, str) and name != "*" and not any(fnmatch(task, name) for task in tasks):
                    yield Finding(
                        "note", setting, f"{name!r} means no task that this app knows; is it a typing error?"
                    )


def _without_effect(app: Celery) -> Iterator[Finding]:
    for name in app.conf.explicit:
        setting = SETTINGS.get(name)
        if setting is None:
            yield Finding("note", name, "is no setting of celeriac: it is kept as your own")
        elif setting.status == "no effect":
            yield Finding("note", name, f"has no effect here: {setting.reason}")
        elif setting.status == "later":
            yield Finding("warning", name, "has no effect yet: what it is for is not built")
    options = app.conf.broker_transport_options or {}
    if "visibility_timeout" in options:
        yield Finding(
            "note",
            "broker_transport_options",
            "visibility_timeout has no effect here: a claim belongs to its owner as long as the node's lease "
            "is renewed (worker_lease)",
        )


_LOOKS: tuple[Callable[[Celery], Iterator[Finding]], ...] = (
    _periodic_tasks,
    _urls,
    _time_limits,
    _rates,
    _serializers,
    _eager,
    _results_off,
    _pairs,
    _ways,
    _misses,
    _without_effect,
)


# --- inside -----------------------------------------------------------------------------------------------


def _own_tasks(app: Celery) -> list[tuple[str, Any]]:
    return [(name, task) for name, task in sorted(app.tasks.items()) if not name.startswith("celery.")]


def _destinations(app: Celery) -> Iterator[tuple[str, str | Exception]]:
    """(task, its queue, or what its route raised)"""
    for name, task in _own_tasks(app):
        try:
            yield name, app.router.route(name, task=task).queue
        except Exception as error:  # a function of the user's may raise anything
            yield name, error


def _several(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
