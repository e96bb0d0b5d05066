"""The command line wins over the settings, and what cannot be is refused with the cure."""

from __future__ import annotations

from typing import Any

import click
import pytest

from celeriac.cli.decide import decide
from celeriac.cli.invocation import Invocation
from celeriac.compat.nodenames import gethostname
from celeriac.config import Settings
from celeriac.worker.options import WorkerOptions

SILENT: dict[str, Any] = dict.fromkeys(
    [
        "hostname",
        "pool",
        "concurrency",
        "autoscale",
        "processes",
        "queues",
        "exclude_queues",
        "logfile",
        "log_format",
        "max_tasks_per_child",
        "max_memory_per_child",
        "time_limit",
        "soft_time_limit",
        "lease",
        "start_method",
        "include",
        "pidfile",
        "health",
        "heartbeat_interval",
        "detach",
    ]
) | {"loglevel": "WARNING", "without_heartbeat": False, "purge": False, "task_events": False, "beat": False}


def decided(said: dict[str, Any] | None = None, **settings: Any) -> WorkerOptions:
    return decide(SILENT | (said or {}), Settings(settings, environ={}), Invocation(app_spec="main"), {})


def test_with_nothing_said_the_defaults_hold() -> None:
    assert decided() == WorkerOptions(hostname=f"celery@{gethostname()}", app_spec="main")


def test_the_settings_speak_where_the_command_line_is_silent() -> None:
    options = decided(
        worker_pool="threads",
        worker_concurrency=7,
        worker_max_tasks_per_child=5,
        worker_max_memory_per_child=1000,
        task_time_limit=9,
        task_soft_time_limit=8,
        worker_lease=12,
        worker_log_json=True,
        worker_pool_start_method="spawn",
    )
    assert (options.pool, options.concurrency, options.processes) == ("threads", 7, None)
    assert (options.max_tasks_per_child, options.max_memory_per_child) == (5, 1000)
    assert (options.time_limit, options.soft_time_limit, options.lease) == (9, 8, 12)
    assert (options.log_format, options.start_method) == ("json", "spawn")


def test_the_setting_of_processes_is_for_pools_with_rooms() -> None:
    threads = decided({"pool": "threads"}, worker_processes=3)
    assert (threads.concurrency, threads.processes) == (None, 3)
    assert decided({"pool": "threads", "processes": 2}, worker_processes=3).processes == 2
    assert decided(worker_processes=3).concurrency is None


def test_the_command_line_wins() -> None:
    options = decided(
        {"pool": "solo", "concurrency": 1, "time_limit": 2.0}, worker_pool="threads", task_time_limit=9
    )
    assert (options.pool, options.concurrency, options.time_limit) == ("solo", 1, 2.0)


def test_settings_that_say_auto_choose_what_fits() -> None:
    assert decided(worker_concurrency="auto").concurrency is None


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("w1@%h", "w1@{host}"),
        ("w1@", "w1@{host}"),
        ("w1", "celery@w1"),
        ("a@b", "a@b"),
        (None, "celery@{host}"),
    ],
)
def test_node_names_are_filled_in_as_celery_does(name: str | None, node: str) -> None:
    assert decided({"hostname": name}).hostname == node.format(host=gethostname())


def test_the_log_file_knows_its_node_and_keeps_the_childs_part() -> None:
    options = decided({"hostname": "w1@box.example.org", "logfile": "/var/log/%n-%h-%d-%p%I.log"})
    assert options.logfile == "/var/log/w1-box.example.org-example.org-w1@box.example.org%I.log"


def test_prefork_counts_its_processes_by_either_word() -> None:
    assert decided({"processes": 3}).concurrency == 3
    assert decided({"pool": "threads", "concurrency": 8, "processes": 3}).processes == 3


def test_autoscale_is_for_processes_and_elsewhere_its_larger_number_counts() -> None:
    assert decided({"autoscale": (10, 2)}).autoscale == (10, 2)
    threads = decided({"autoscale": (10, 2), "pool": "threads"})
    assert (threads.autoscale, threads.concurrency) == (None, 10)
    assert decided({"autoscale": (10, 2), "concurrency": 3, "pool": "threads"}).concurrency == 3


@pytest.mark.parametrize(
    ("said", "settings", "cure"),
    [
        ({"hostname": "w1@%q"}, {}, "%q in 'w1@%q' stands for nothing"),
        ({"logfile": "%q.log"}, {}, "%q in '%q.log' stands for nothing"),
        ({"concurrency": 2, "processes": 3}, {}, "leave --processes out"),
        ({"pool": "solo", "processes": 3}, {}, "take -P prefork"),
        ({"time_limit": 1.0, "soft_time_limit": 2.0}, {}, "less than or equal"),
        ({}, {"worker_pool": "eventlet"}, "The setting worker_pool: .*use -P gevent"),
        ({}, {"worker_pool": "celery.concurrency.prefork:TaskPool"}, "take prefork, threads"),
        ({}, {"worker_pool": "gevent"}, "CELERY_WORKER_POOL=gevent"),
        ({"pool": "gevent"}, {}, "an argument by itself"),
    ],
)
def test_what_cannot_be_is_refused_with_the_cure(
    said: dict[str, Any], settings: dict[str, Any], cure: str
) -> None:
    with pytest.raises(click.UsageError, match=cure):
        decided(said, **settings)
