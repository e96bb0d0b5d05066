"""CTB: what Celery contributes beside its core."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac import Celery
from celeriac.compat.abortable import ABORTED, AbortableAsyncResult, AbortableTask
from celeriac.testing.worker import start_worker


def test_CTB_1_a_task_ends_when_it_is_asked_to(app: Celery) -> None:
    @app.task(bind=True, base=AbortableTask)
    def long(self: AbortableTask) -> str:
        begun.abort()
        return "ended" if self.is_aborted() else "went on"

    begun: Any = long.AsyncResult("the-id")
    assert isinstance(begun, AbortableAsyncResult)
    assert not begun.is_aborted()
    with start_worker(app, perform_ping_check=False):
        assert long.apply_async(task_id="the-id").get(timeout=10) == "ended"
    assert not begun.is_aborted()


def test_CTB_1_the_wish_is_a_state_that_is_no_end(app: Celery) -> None:
    result = AbortableAsyncResult("some", app=app)
    result.abort()
    assert (result.state, result.ready(), result.is_aborted()) == (ABORTED, False, True)


def test_CTB_1_without_results_it_says_so() -> None:
    app = Celery("proj", broker="memory://", set_as_current=False)
    with pytest.raises(RuntimeError, match="set result_backend"):
        AbortableAsyncResult("some", app=app).abort()
