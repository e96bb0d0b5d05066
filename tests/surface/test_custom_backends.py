"""BCK-1: results in a backend class of the user's own, found by its path."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from celeriac import Celery, chord, group
from celeriac.checking import findings
from celeriac.exceptions import ImproperlyConfigured, OperationalError
from celeriac.testing.worker import start_worker
from surface.shelf import Shelf


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("proj", broker="memory://shelf", backend="surface.shelf.Shelf", set_as_current=False) as app:
        yield app
    Shelf.kept.clear()
    Shelf.away = False


def test_BCK_1_results_and_workflows_go_through_a_class_of_the_users_own(app: Celery) -> None:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="fail")
    def fail() -> None:
        raise LookupError("no such thing")

    @app.task(name="sum")
    def sum_(values: list[int]) -> int:
        return sum(values)

    @app.task(name="work", bind=True)
    def work(self: Any) -> str:
        self.update_state(state="PROGRESS", meta={"rows": 3})
        return str(app.AsyncResult(self.request.id).info)

    with start_worker(app, perform_ping_check=False):
        assert add.delay(1, 2).get(timeout=10) == 3
        bad = fail.delay()
        with pytest.raises(LookupError):
            bad.get(timeout=10)
        assert "no such thing" in (bad.traceback or "")
        assert work.delay().get(timeout=10) == "{'rows': 3}"
        assert chord([add.s(1, 1), add.s(2, 2)])(sum_.s()).get(timeout=10) == 6
        several = group(add.s(n, n) for n in range(3))()
        assert several.get(timeout=10) == [0, 2, 4]
    several.save()
    assert app.GroupResult.restore(several.id).results == several.results
    several.delete()
    assert app.GroupResult.restore(several.id) is None
    assert app.backend.get_task_meta(bad.id)["status"] == "FAILURE"
    bad.forget()
    assert bad.state == "PENDING"
    assert not [one for one in findings(app) if one.about == "result_backend"]


def test_BCK_1_a_backend_that_is_away_is_an_operational_error_and_asked_again(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    result = app.AsyncResult("a")
    Shelf.away = True
    with pytest.raises(
        OperationalError, match="Shelf cannot read results: ConnectionError: the shelf is away"
    ):
        _ = result.state
    Shelf.away = False
    told: list[bytes] = []
    watch = app.results.watch(lambda _, payload: told.append(payload))  # type: ignore[union-attr]
    assert watch.add(["a"]) == [None]
    Shelf.away = True
    deadline = time.monotonic() + 30
    while "asked again" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    Shelf.away = False
    app.backend.mark_as_done("a", 1)
    assert result.get(timeout=10) == 1
    watch.close()


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (
            "surface.shelf.Nothing",
            "result_backend: 'surface.shelf.Nothing' cannot be imported: AttributeError",
        ),
        ("no.such.module.Backend", "result_backend: 'no.such.module.Backend' cannot be imported"),
        ("shelf://", "No driver for shelf://; known are"),
    ],
)
def test_BCK_1_a_backend_that_is_not_there_is_told(named: str, said: str) -> None:
    app = Celery("proj", broker="memory://", backend=named, set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match=said):
        _ = app.AsyncResult("a").state


def test_BCK_1_a_class_for_results_is_no_broker(app: Celery) -> None:
    other = Celery("proj", broker="surface.shelf.Shelf", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="keeps results and no messages"):
        other.send_task("a")
