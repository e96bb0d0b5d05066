"""Fixtures for pytest: an app, a worker in a thread, and queued tasks step by step.

    # conftest.py
    pytest_plugins = ("celeriac.testing.plugin",)

The names are those of `celery.contrib.pytest`; `celery_stepper` is ours. See docs/testing.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from typing import Any

import pytest

from celeriac import current
from celeriac.app import Celery
from celeriac.stepping import Stepper
from celeriac.testing.app import TestApp, setup_default_app
from celeriac.testing.worker import ThreadWorker, start_worker

#: Set it to run the tests of a worker that somebody else has started.
NO_WORKER = os.environ.get("NO_WORKER")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "celery(**settings): settings of this test's celery_app")


# --- for projects to override ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """Settings of the app."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """More arguments of `Celery(...)`."""
    return {}


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """Arguments of `start_worker`: queues, shutdown_timeout, perform_ping_check ..."""
    return {}


@pytest.fixture(scope="session")
def celery_worker_pool() -> str:
    """solo, threads or asyncio."""
    return "solo"


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """Modules to import before the worker starts."""
    return ()


@pytest.fixture(scope="session")
def celery_class_tasks() -> Sequence[Any]:
    """Class based tasks for the session's app."""
    return ()


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """Accepted; the log is pytest's."""
    return False


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """Whether asking for the current app is an error of the test."""
    return False


# --- apps --------------------------------------------------------------------------------------------------


@pytest.fixture
def celery_app(
    request: pytest.FixtureRequest,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Celery]:
    """An app for this test. `@pytest.mark.celery(task_track_started=True)` gives it settings."""
    settings = dict(celery_config)
    for mark in reversed(list(request.node.iter_markers("celery"))):
        settings.update(mark.kwargs)
    with _test_app(settings, celery_parameters, use_celery_app_trap) as app:
        yield app


@pytest.fixture(scope="session")
def celery_session_app(
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Celery]:
    """An app for all tests."""
    with _test_app(celery_config, celery_parameters, use_celery_app_trap) as app:
        yield app


@pytest.fixture(autouse=True)
def _celery_forgets() -> Iterator[None]:
    """What a test declares with `shared_task` is no task of the tests after it."""
    before = list(current.shared)
    yield
    current.forget_shared(before)


@pytest.fixture
def depends_on_current_app(celery_app: Celery) -> None:
    """The test's app is the current one, also where `use_celery_app_trap` forbids it."""
    celery_app.set_current()


@pytest.fixture
def celery_stepper(celery_app: Celery) -> Iterator[Stepper]:
    """What is sent runs when the test says so, by a clock that the test moves: `celery_app.testing()`."""
    with celery_app.testing() as stepper:
        yield stepper


# --- workers -----------------------------------------------------------------------------------------------


@pytest.fixture
def celery_worker(
    celery_app: Celery,
    celery_includes: Sequence[str],
    celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[ThreadWorker | None]:
    """A worker of `celery_app`, in a thread."""
    _import(celery_includes)
    with _worker(celery_app, celery_worker_pool, celery_worker_parameters) as worker:
        yield worker


@pytest.fixture(scope="session")
def celery_session_worker(
    celery_session_app: Celery,
    celery_includes: Sequence[str],
    celery_class_tasks: Sequence[Any],
    celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[ThreadWorker | None]:
    """A worker of `celery_session_app`, in a thread, for all tests."""
    _import(celery_includes)
    for task in celery_class_tasks:
        celery_session_app.register_task(task)
    with _worker(celery_session_app, celery_worker_pool, celery_worker_parameters) as worker:
        yield worker


@contextmanager
def _test_app(settings: Mapping[str, Any], parameters: Mapping[str, Any], use_trap: bool) -> Iterator[Celery]:
    app = TestApp(config=settings, **parameters)
    try:
        with setup_default_app(app, use_trap=use_trap):
            yield app
    finally:
        app.close()


def _worker(
    app: Celery, pool: str, parameters: Mapping[str, Any]
) -> AbstractContextManager[ThreadWorker | None]:
    start: Callable[..., AbstractContextManager[ThreadWorker]] = start_worker
    return nullcontext() if NO_WORKER else start(app, **{"pool": pool, **parameters})


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        import_module(module)
