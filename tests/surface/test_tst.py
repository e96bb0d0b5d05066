"""TST-1 to TST-3: the pytest plugin, apps for tests, a worker in a thread; by the drop-in's paths too."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery, current_app, signals
from celeriac.current import get_current_app
from celeriac.exceptions import ImproperlyConfigured, TaskRevokedError
from celeriac.testing.app import DEFAULT_TEST_CONFIG, TestApp, Trap, set_trap, setup_default_app
from celeriac.testing.worker import TestWorkController, start_worker, test_worker_started, test_worker_stopped
from services import RedisServer, clean_environment

DROPIN = Path(__file__).parents[2] / "dropin" / "src"

TESTS_OF_A_PROJECT = """
import threading

import pytest


@pytest.fixture(scope="session")
def celery_config():
    return {"broker_url": "memory://", "result_backend": "cache+memory://", "task_default_queue": "mine"}


@pytest.fixture(scope="session")
def celery_parameters():
    return {"strict_typing": False}


@pytest.fixture(scope="session")
def celery_class_tasks():
    from CELERY import Task

    class Twice(Task):
        name = "twice"

        def run(self, x):
            return 2 * x

    return [Twice]


@pytest.mark.celery(task_track_started=True)
def test_the_app_has_the_settings_of_project_and_mark(celery_app):
    assert celery_app.conf.task_default_queue == "mine"
    assert celery_app.conf.task_track_started
    assert not celery_app.strict_typing


def test_a_worker_runs_tasks_in_a_thread(celery_app, celery_worker):
    @celery_app.task
    def where(x):
        return [x, threading.current_thread() is threading.main_thread()]

    assert where.delay(4).get(timeout=10) == [4, False]


def test_one_worker_serves_the_whole_session(celery_session_app, celery_session_worker):
    assert celery_session_app.tasks["twice"].delay(4).get(timeout=10) == 8


def test_messages_of_other_tests_are_not_seen(celery_app):
    assert celery_app.broker.queues() == []
    celery_app.send_task("left.behind")


def test_messages_of_other_tests_are_really_not_seen(celery_app):
    assert celery_app.broker.queues() == []


def test_the_app_of_the_test_is_the_current_one(celery_app, depends_on_current_app):
    from CELERY import current_app

    assert current_app.main == celery_app.main
    assert current_app.conf is celery_app.conf


def test_a_shared_task_of_a_test(celery_app):
    from CELERY import shared_task

    @shared_task(name="whose")
    def whose():
        return "the first test's"

    assert "whose" in celery_app.tasks


def test_a_shared_task_of_a_test_is_no_task_of_the_next(celery_app, celery_session_app):
    from CELERY import shared_task

    assert "whose" not in celery_app.tasks
    assert "whose" not in celery_session_app.tasks

    @shared_task(name="whose")
    def whose():
        return "the second test's"

    assert celery_app.tasks["whose"]() == "the second test's"


def test_steps(celery_app, celery_stepper):
    @celery_app.task
    def add(x, y):
        return x + y

    add.apply_async((1, 2), countdown=3600)
    assert [ran.value for ran in celery_stepper.finish()] == [3]
"""


@pytest.mark.parametrize("package", ["celeriac", "celery"])
def test_TST_1_the_plugin_gives_celerys_fixtures(package: str, tmp_path: Path) -> None:
    plugin = {"celeriac": "celeriac.testing.plugin", "celery": "celery.contrib.pytest"}[package]
    (tmp_path / "conftest.py").write_text(f"pytest_plugins = ('{plugin}',)\n")
    (tmp_path / "test_project.py").write_text(TESTS_OF_A_PROJECT.replace("CELERY", package))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "--strict-markers", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=clean_environment({"PYTHONPATH": str(DROPIN), "CELERY_BROKER_URL": "redis://127.0.0.1:1/0"}),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 passed" in done.stdout


# --- the app ------------------------------------------------------------------------------------------------


def test_TST_2_an_app_for_tests_never_reaches_what_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://production/0")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://production/0")
    app, other = TestApp(), TestApp("mine", config={"task_default_queue": "q"}, broker="memory://shared")
    assert app.broker_url.startswith("memory://")
    assert app.result_url == app.broker_url
    assert (other.main, other.broker_url, other.conf.task_default_queue) == ("mine", "memory://shared", "q")
    assert app.main == "celery.tests"
    assert DEFAULT_TEST_CONFIG["broker_url"] == "memory://"


def test_TST_2_the_current_app_can_be_set_for_a_while_or_made_a_trap() -> None:
    before, app = get_current_app(), TestApp()
    with setup_default_app(app):
        assert get_current_app() is app
    with setup_default_app(app, use_trap=True), pytest.raises(RuntimeError, match="current app"):
        _ = current_app.conf
    with set_trap(app), pytest.raises(RuntimeError, match="'tasks'"):
        _ = current_app.tasks
    assert get_current_app() is before
    assert isinstance(Trap(), Trap)


# --- the worker ---------------------------------------------------------------------------------------------


def test_TST_3_a_worker_in_a_thread_serves_any_broker(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    app = Celery("proj", broker=url, backend=url)

    @app.task
    def name() -> str:
        return threading.current_thread().name

    with start_worker(app) as worker:
        assert isinstance(worker, TestWorkController)
        worker.ensure_started()
        worker.reload()  # as Celery's tests say after declaring a task
        assert name.delay().get(timeout=10) != "MainThread"
    later = name.delay()
    assert not later.ready()
    with start_worker(app, concurrency=3, pool="threads", perform_ping_check=False):
        assert later.get(timeout=10)
    app.close()


def test_TST_3_a_coroutine_task_runs_on_an_asyncio_worker(app: Celery) -> None:
    @app.task
    async def hello() -> str:
        return "hello"

    with start_worker(app, pool="asyncio", concurrency=10):
        assert hello.delay().get(timeout=10) == "hello"
    with pytest.raises(ImproperlyConfigured, match="gevent"), start_worker(app, pool="gevent"):
        pass


def test_TST_3_only_the_queues_that_are_named_are_served(app: Celery) -> None:
    @app.task
    def one() -> int:
        return 1

    with start_worker(app, queues="a,b") as worker:
        assert worker.queues == ("a", "b")
        other = one.delay()
        assert one.apply_async(queue="b").get(timeout=10) == 1
        other.revoke()
    with pytest.raises(TaskRevokedError):
        other.get(timeout=1)


def test_TST_3_a_worker_goes_on_when_the_store_was_emptied_between_two_tests(
    redis_db: str, redis_server: RedisServer
) -> None:
    with Celery("emptied", broker=redis_db, backend=redis_db, set_as_current=False) as app:

        @app.task
        def one() -> int:
            return 1

        with start_worker(app):
            for _ in range(2):
                redis_server.command("FLUSHALL")
                assert one.delay().get(timeout=10) == 1


def test_TST_3_signals_tell_of_the_workers_life(app: Celery) -> None:
    told: list[str] = []

    def note(signal: Any, sender: Any, **_: Any) -> None:
        told.append(signal.name)

    heard = (
        test_worker_started,
        test_worker_stopped,
        signals.worker_init,
        signals.worker_ready,
        signals.worker_shutdown,
    )
    for signal in heard:
        signal.connect(note, weak=False)
    try:
        with start_worker(app):
            pass
    finally:
        for signal in heard:
            signal.disconnect(note)
    assert told == [
        "worker_init",
        "worker_ready",
        "test_worker_started",
        "test_worker_stopped",
        "worker_shutdown",
    ]


def test_TST_3_a_task_that_does_not_end_is_said(app: Celery) -> None:
    go_on, begun = threading.Event(), threading.Event()

    @app.task
    def endless() -> None:
        begun.set()
        go_on.wait(30)

    def forget_to_end() -> None:
        with start_worker(app, shutdown_timeout=0.1):
            endless.delay()
            assert begun.wait(10)

    with pytest.raises(RuntimeError, match="shutdown_timeout"):
        forget_to_end()
    go_on.set()
