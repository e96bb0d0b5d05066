"""CFG: settings that contradict each other are told at the start, and what a setting says is what happens."""

from __future__ import annotations

import re
import ssl
from typing import Any

import pytest

from celeriac import Celery, checking
from celeriac.exceptions import ImproperlyConfigured

REDIS = {"broker_url": "redis://u:p@h:1/2", "result_backend": "redis://h:1/2"}


def said(**settings: Any) -> list[str]:
    app = Celery("proj", set_as_current=False, **settings)
    return [f"{found.grade} {found.about}: {found.says}" for found in checking.findings(app)]


@pytest.mark.parametrize(
    ("settings", "about"),
    [
        (
            REDIS | {"broker_read_url": "redis://a", "broker_write_url": "sqlite:///b"},
            "error broker_read_url: workers",
        ),
        ({"broker_use_ssl": True}, "warning broker_use_ssl: has no effect on sqlite"),
        ({"broker_url": "memory://"}, "broker_url: messages of memory:// stay in the process"),
        ({"broker_url": "sqlite://"}, "broker_url: messages of sqlite:// stay in the process"),
        (
            REDIS | {"result_backend": "sqlite:///x", "redis_backend_use_ssl": True},
            "warning redis_backend_use_ssl",
        ),
        (
            REDIS | {"worker_deduplicate_successful_tasks": True, "task_acks_late": False},
            "task_acks_late is off",
        ),
        (
            {"broker_url": "redis://h", "worker_deduplicate_successful_tasks": True},
            "results are off, so nobody",
        ),
        (
            REDIS | {"task_ignore_result": True, "result_extended": True},
            "warning result_extended: task_ignore",
        ),
        (REDIS | {"worker_processes": 2}, "warning worker_processes: has no effect with worker_pool=prefork"),
        (REDIS | {"task_soft_time_limit": 9, "task_time_limit": 5}, "error task_soft_time_limit: its soft"),
        (
            REDIS | {"result_serializer": "pickle"},
            "error result_serializer: 'pickle' is written but not read",
        ),
        (
            REDIS | {"worker_prefetch_multiplier": 1},
            "note worker_prefetch_multiplier: has no effect here: children",
        ),
        (REDIS | {"task_default_queue_type": "quorum"}, "warning task_default_queue_type: has no effect yet"),
    ],
)
def test_CFG_contradictions_are_found_at_the_start(settings: dict[str, Any], about: str) -> None:
    assert re.search(re.escape(about), "\n".join(said(**settings)))


def test_CFG_settings_that_fit_each_other_are_not_told_of() -> None:
    assert said(**REDIS, task_soft_time_limit=5, task_time_limit=9, broker_use_ssl=True) == []


@pytest.mark.parametrize(
    ("use_ssl", "address"),
    [
        (None, "redis://u:p@h:1/2"),
        (True, "rediss://u:p@h:1/2"),
        ({"ssl_cert_reqs": ssl.CERT_NONE}, "rediss://u:p@h:1/2?ssl_cert_reqs=cert_none"),
        (
            {"ssl_cert_reqs": "required", "ssl_ca_certs": "/a b"},
            "rediss://u:p@h:1/2?ssl_cert_reqs=required&ssl_ca_certs=%2Fa+b",
        ),
    ],
)
def test_CFG_broker_use_ssl_is_tls(use_ssl: Any, address: str) -> None:
    app = Celery("proj", set_as_current=False, **REDIS, broker_use_ssl=use_ssl, redis_backend_use_ssl=use_ssl)
    assert app.broker_url == address
    assert (app.result_url or "").startswith("rediss:" if use_ssl else "redis:")
    app.broker.close()  # the options are those that the driver knows
    with pytest.raises(ImproperlyConfigured, match="unknown option 'ssl_wrong'"):
        Celery("proj", set_as_current=False, **REDIS, broker_use_ssl={"ssl_wrong": 1}).broker
    with pytest.raises(ImproperlyConfigured, match="broker_use_ssl is True or a dict of ssl options"):
        Celery("proj", set_as_current=False, **REDIS, broker_use_ssl="yes").broker_url
