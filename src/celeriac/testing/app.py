"""An app for a test alone: its messages and results lie in this process, whatever the environment says."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NoReturn
from uuid import uuid4

from celeriac import current
from celeriac.app import Celery

#: What an app for tests begins with. Each app has a memory of its own: no test sees messages of another.
DEFAULT_TEST_CONFIG: dict[str, Any] = {
    "worker_hijack_root_logger": False,
    "worker_log_color": False,
    "accept_content": {"json"},
    "enable_utc": True,
    "timezone": "UTC",
    "broker_url": "memory://",
    "result_backend": "cache+memory://",
}

#: Where Celery's tests keep results; here they lie beside the messages.
_MEMORY_OF_CELERY = ("cache+memory", "cache+memory:", "cache+memory://")


def TestApp(
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    enable_logging: bool = False,
    set_as_current: bool = False,
    log: object = None,
    backend: str | None = None,
    broker: str | None = None,
    **options: Any,
) -> Celery:
    """An app for tests. `config` are its settings; the environment's broker and backend do not count."""
    settings = {**deepcopy(DEFAULT_TEST_CONFIG), **(config or {})}
    app = Celery(name or "celery.tests", set_as_current=set_as_current, **options)
    app.conf.update(
        {key: value for key, value in settings.items() if key not in ("broker_url", "result_backend")}
    )
    memory = f"memory://{uuid4().hex}"
    urls = {
        "broker_url": broker or settings["broker_url"],
        "result_backend": backend or settings["result_backend"],
    }
    for key, url in urls.items():
        app.conf.pin(key, memory if url == "memory://" or url in _MEMORY_OF_CELERY else url)
    return app


TestApp.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a class of tests


class UnitLogging:
    """Accepted where Celery's tests give it; here the log is the test runner's."""

    already_setup = True

    def __init__(self, *_: object, **_named: object) -> None:
        pass

    def get_default_logger(self, name: str = "celery", **_: object) -> logging.Logger:
        return logging.getLogger(name)


class Trap:
    """Stands where the current app would be, and says who asked for it: a test that shall not need it."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(f"this test depends on the current app: it asked it for {name!r}")


@contextmanager
def set_trap(app: object) -> Iterator[None]:
    """Inside, whoever asks for the current app gets a Trap."""
    with current.only(Trap()):
        yield


@contextmanager
def setup_default_app(app: Celery, use_trap: bool = False) -> Iterator[None]:
    """Inside, it is the current app, or with `use_trap` there is none; then all is as before."""
    with current.only(Trap() if use_trap else app):
        yield
