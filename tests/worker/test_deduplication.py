"""worker_deduplicate_successful_tasks: what succeeded before it was delivered again does not run."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from celeriac import Celery, states
from celeriac.message import Claim, Fate, Outcome, Result
from celeriac.wire.packing import pack
from celeriac.wire.result import encode_result
from celeriac.worker.execute import Executor, Job


def run(status: str, deliveries: int, **options: Any) -> tuple[list[int], Outcome]:
    """What ran, and the outcome, of a message whose first delivery left a result."""
    ran: list[int] = []
    url = f"memory://{uuid4().hex}"
    with Celery("proj", broker=url, backend=url, worker_deduplicate_successful_tasks=True) as app:
        app.task(name="pay", **options)(lambda: ran.append(1))
        payload = encode_result(task_id="the-id", status=status, result="paid")
        assert app.results is not None
        app.results.save([Result("the-id", payload, None)])
        message = pack(name="pay", id="the-id", args=(), kwargs={}, queue="celery")
        job = Executor(app, "w1@host").prepare(Claim(1, "celery", message, deliveries, False))
        assert isinstance(job, Job)
        return ran, job.run()


def test_TSK_16_a_redelivered_task_that_succeeded_is_settled_with_its_first_value() -> None:
    ran, outcome = run(states.SUCCESS, deliveries=1)
    assert (ran, outcome.fate) == ([], Fate.ACKED)
    assert outcome.result is not None
    assert json.loads(outcome.result.payload)["result"] == "paid"


@pytest.mark.parametrize(
    ("status", "deliveries", "options"),
    [(states.SUCCESS, 0, {}), (states.STARTED, 1, {}), (states.SUCCESS, 1, {"acks_late": False})],
    ids=["first delivery", "did not succeed", "acknowledged early"],
)
def test_TSK_16_everything_else_runs(status: str, deliveries: int, options: dict[str, Any]) -> None:
    assert run(status, deliveries, **options)[0] == [1]
