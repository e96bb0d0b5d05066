"""APP-21: what error trackers replace in `celery.app.trace` stands around each run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from celeriac import Celery, Task, signals
from celeriac.compat import billiard, trace

Replace = Callable[[Callable[..., Any]], None]


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Replace:
    """Put a wrapper around the tracers of all tasks, as an error tracker does."""
    original = trace.build_tracer

    def replace(wrapper: Callable[..., Any]) -> None:
        def build(name: str, task: Any, *args: Any, **kwargs: Any) -> Any:
            return wrapper(task, original(name, task, *args, **kwargs))

        monkeypatch.setattr(trace, "build_tracer", build)

    return replace


def test_APP_21_a_replaced_tracer_sees_the_whole_run_and_the_request(
    app: Celery, replace: Replace, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []

    def wrapper(task: Any, inner: Callable[..., Any]) -> Callable[..., Any]:
        def traced(uuid: str, args: Any, kwargs: Any, request: dict[str, Any]) -> Any:
            heard.append(("begins", task.name, list(args), kwargs, request["headers"]["tenant"]))
            result = inner(uuid, args, kwargs, request)
            heard.append(("ends", uuid))
            return result

        return traced

    @app.task(name="add")
    def add(x: int, y: int = 0) -> int:
        heard.append("runs")
        return x + y

    @app.task(name="co")
    async def co() -> str:
        return "not wrapped"

    def prerun(**_: Any) -> None:
        heard.append("prerun")

    replace(wrapper)
    trace._tell_of_coroutines.cache_clear()
    with app.testing() as stepper:
        signals.task_prerun.connect(prerun)
        result = add.apply_async((1,), {"y": 2}, headers={"tenant": "t"})
        stepper.run()
        signals.task_prerun.disconnect(prerun)
        assert result.get() == 3
        other = co.delay()
        stepper.run()
        assert other.get() == "not wrapped"
        assert "Task co is a coroutine" in caplog.text
    assert heard == [("begins", "add", [1], {"y": 2}, "t"), "prerun", "runs", ("ends", result.id)]


def test_APP_21_a_tracer_that_fails_changes_nothing_of_the_tasks_end(
    app: Celery, replace: Replace, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[str] = []

    @app.task(name="note")
    def note(word: str) -> str:
        runs.append(word)
        return word

    def wrapper(task: Any, inner: Callable[..., Any]) -> Callable[..., Any]:
        def traced(uuid: str, args: Any, kwargs: Any, request: Any) -> None:
            if args == ["after"]:
                inner(uuid, args, kwargs, request)
            raise OSError("the tracker is away")

        return traced

    replace(wrapper)
    with app.testing() as stepper:
        results = [note.delay("before"), note.delay("after")]
        stepper.run()
        assert [result.get() for result in results] == runs == ["before", "after"]
    assert caplog.text.count("what was put around task note failed") == 2


def test_APP_21_it_is_known_whether_a_class_of_the_users_own_is_called(app: Celery) -> None:
    class Loud(Task[..., Any]):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*args, **kwargs)

    @app.task(name="plain")
    def plain() -> None: ...

    @app.task(name="loud", base=Loud)
    def loud() -> None: ...

    assert not trace.task_has_custom(plain, "__call__")
    assert trace.task_has_custom(loud, "__call__")


def test_APP_21_who_wraps_the_loop_of_a_pool_is_called_at_the_end_of_each_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends: list[object] = []
    monkeypatch.setattr(billiard.Worker, "workloop", lambda worker: ends.append(worker))
    signals.worker_process_shutdown.send(None, pid=1, exitcode=0)
    assert len(ends) == 1
