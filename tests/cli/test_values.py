"""A bad value is one clear sentence that names the cure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import click
import pytest

from celeriac.cli import values
from celeriac.cli.overrides import read_overrides


@pytest.mark.parametrize(
    ("text", "pool"),
    [
        ("prefork", "prefork"),
        ("processes", "prefork"),
        ("thread", "threads"),
        ("THREADS", "threads"),
        ("gevent", "gevent"),
        ("asyncio", "asyncio"),
        ("solo", "solo"),
    ],
)
def test_pools_have_celerys_names_and_ours(text: str, pool: str) -> None:
    assert values.pool_name(text) == pool


@pytest.mark.parametrize(
    ("read", "text", "cure"),
    [
        (values.pool_name, "eventlet", "use -P gevent"),
        (values.pool_name, "custom", "take prefork, threads, gevent, asyncio or solo"),
        (values.pool_name, "bogus", "take prefork, threads, gevent, asyncio or solo"),
        (values.concurrency, "0", "give 1 or more"),
        (values.concurrency, "-3", "give 1 or more"),
        (values.concurrency, "many", "'many' is no whole number"),
        (values.level, "LOUD", "DEBUG, INFO, WARNING, ERROR, CRITICAL, FATAL"),
        (values.names, " , ", "no name is given"),
        (values.autoscale, "x", "as in 10,2"),
        (values.autoscale, "0", "as in 10,2"),
        (values.autoscale, "1,2,3", "as in 10,2"),
        (values.json_array, "1", "'1' is JSON, but no array"),
        (values.json_object, "[1]", "JSON, but no object"),
        (values.json_array, "[1", "is no JSON"),
        (values.moment, "tomorrow", "ISO 8601"),
        (values.moment_or_seconds, "tomorrow", "give seconds or ISO 8601"),
    ],
)
def test_a_bad_value_names_the_cure(read: Callable[[str], object], text: str, cure: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        read(text)
    assert cure in caught.value.message


def test_good_values_are_read() -> None:
    assert values.concurrency("8") == 8
    assert values.concurrency("auto") is None
    assert values.level("info") == "INFO"
    assert values.names("a, b,a,,c") == ("a", "b", "c")
    assert values.autoscale("2,10") == (10, 2)
    assert values.autoscale("4") == (4, 0)
    assert values.json_array('[1, "ü"]') == [1, "ü"]
    assert values.moment("2026-01-31T08:30:00Z") == datetime(2026, 1, 31, 8, 30, tzinfo=UTC)
    assert values.moment_or_seconds("1.5") == 1.5


def test_settings_on_the_command_line_are_read_in_every_spelling() -> None:
    given = [
        "worker.redirect_stdouts=false",
        ".log_json=yes",
        "task_time_limit=30",
        "celery.timezone=Europe/Paris",
        'broker.transport_options={"visibility_timeout": 5}',
        "task.acks_late=0",
    ]  # fmt: skip
    assert read_overrides(given) == {
        "worker_redirect_stdouts": False,
        "worker_log_json": True,
        "task_time_limit": 30,
        "timezone": "Europe/Paris",
        "broker_transport_options": {"visibility_timeout": 5},
        "task_acks_late": False,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foo", "form group.name=value"),
        ("task.time_limit=soon", "a number"),
        ("task.tme_limit=3", "did you mean 'task_time_limit'"),
        ("broker.transport_options=[", "JSON"),
    ],
)
def test_a_bad_setting_is_refused(text: str, said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        read_overrides([text])
