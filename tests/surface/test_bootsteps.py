"""APP-2: steps, which hear the signals of a worker, and the timer of one."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac import Celery, signals
from celeriac.compat.bootsteps import ConsumerStep, StartStopStep, Step
from celeriac.worker.instance import Worker
from celeriac.worker.options import WorkerOptions


@pytest.fixture
def worker(app: Celery) -> Worker:
    return Worker(app, WorkerOptions(hostname="w1@here", own={"probe": "on"}))


@pytest.fixture
def heard() -> list[Any]:
    return []


def test_APP_2_steps_are_made_started_and_stopped(app: Celery, worker: Worker, heard: list[Any]) -> None:
    class Server:
        def start(self) -> None:
            heard.append("server starts")

        def stop(self) -> None:
            heard.append("server stops")

    class A(StartStopStep):
        last = True

        def create(self, parent: Any) -> Any:
            return Server()

    class B(StartStopStep):
        def __init__(self, parent: Any, probe: str = "off", **_: Any) -> None:
            heard.append((parent.hostname, probe))

        def start(self, parent: Any) -> None:
            raise OSError("others start all the same")

    class C(Step):
        def include_if(self, parent: Any) -> bool:
            heard.append("not wanted")
            return False

    class Other(StartStopStep):
        def start(self, parent: Any) -> None:
            heard.append("of another app")

    other = Celery("other", broker="memory://", set_as_current=False)
    other.steps["worker"].add(Other)
    app.steps["worker"] |= {A, B}
    app.steps["consumer"].add(C)
    for signal in (signals.worker_init, signals.worker_ready, signals.worker_shutdown):
        signal.send(worker)
    assert heard == [("w1@here", "on"), "not wanted", "server starts", "server stops"]


def test_APP_2_the_timer_calls_when_the_lease_was_renewed(
    app: Celery, worker: Worker, heard: list[Any]
) -> None:
    class Probe(StartStopStep):
        def start(self, parent: Any) -> None:
            self.beat = parent.timer.call_repeatedly(0, heard.append, ("alive",), priority=10)
            parent.timer.call_after(0, heard.append, ("once",))
            parent.timer.call_after(60, heard.append, ("late",))
            parent.timer.call_after(0, self.fail)

        def fail(self) -> None:
            raise OSError("others are called all the same")

    app.steps["worker"].add(Probe)
    signals.worker_init.send(worker)
    signals.worker_ready.send(worker)
    signals.heartbeat_sent.send(worker)
    signals.heartbeat_sent.send(worker)
    assert heard == ["alive", "once", "alive"]
    signals.worker_shutdown.send(worker)
    signals.heartbeat_sent.send(worker)
    assert heard == ["alive", "once", "alive"]


def test_APP_2_a_step_that_would_consume_is_refused_where_it_is_declared() -> None:
    with pytest.raises(NotImplementedError, match=r"Mine is a ConsumerStep.* claims tasks alone"):

        class Mine(ConsumerStep):
            pass
