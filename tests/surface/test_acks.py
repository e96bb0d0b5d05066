"""TSK-16: what becomes of a message, by how its task ended and by what the task says of acknowledgement."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac import Celery, Task, signals
from celeriac.exceptions import Ignore, Reject, TimeLimitExceeded

LATE: dict[str, Any] = {}
UNLESS = "acks_on_failure_or_timeout"
EARLY = {"acks_late": False}


@pytest.mark.parametrize(
    ("options", "ending", "state", "is_kept"),
    [
        (LATE, None, "SUCCESS", False),
        (EARLY, None, "SUCCESS", False),
        (LATE, ValueError("x"), "FAILURE", False),
        (LATE | {"acks_on_failure": False}, ValueError("x"), "FAILURE", True),
        (LATE | {UNLESS: False}, ValueError("x"), "FAILURE", True),
        (LATE | {UNLESS: False, "acks_on_failure": True}, ValueError("x"), "FAILURE", False),
        (LATE | {"acks_on_timeout": False}, ValueError("x"), "FAILURE", False),
        (LATE | {"acks_on_timeout": False}, TimeLimitExceeded(1), "FAILURE", True),
        (LATE | {"acks_on_failure": False}, TimeLimitExceeded(1), "FAILURE", False),
        (EARLY | {"acks_on_failure": False}, ValueError("x"), "FAILURE", False),
        (EARLY | {"acks_on_timeout": False}, TimeLimitExceeded(1), "FAILURE", False),
        (LATE, Reject("x", requeue=False), "REJECTED", True),
        (EARLY, Reject("x", requeue=False), "REJECTED", False),
        (EARLY, Reject("x", requeue=True), "REJECTED", False),
        (LATE, Ignore(), "IGNORED", False),
        (EARLY, Ignore(), "IGNORED", False),
    ],
)  # fmt: skip
def test_TSK_16_what_is_not_acknowledged_is_kept_as_a_dead_letter(
    app: Celery, options: dict[str, Any], ending: Exception | None, state: str, is_kept: bool
) -> None:
    @app.task(name="work", **options)
    def work() -> None:
        if ending is not None:
            raise ending

    with app.testing() as stepper:
        result = work.delay()
        assert [one.state for one in stepper.run()] == [state]
        assert [letter.id for letter in app.broker.letters(9)] == [result.id] * is_kept
        assert app.broker.depth(["celery"])["celery"].ready == 0


def test_TSK_16_what_is_given_back_runs_again(app: Celery) -> None:
    runs: list[int] = []

    @app.task
    def work() -> str:
        runs.append(1)
        if len(runs) < 3:
            raise Reject("not now", requeue=True)
        return "done"

    with app.testing() as stepper:
        work.delay()
        assert [one.state for one in stepper.run()] == ["REJECTED", "REJECTED", "SUCCESS"]


def test_TSK_6_a_run_goes_its_way_in_celerys_order(app: Celery) -> None:
    story: list[str] = []

    class Base(Task[Any, Any]):
        def before_start(self, *_: Any) -> None:
            story.append("before_start")

        def on_success(self, *_: Any) -> None:
            story.append("on_success")

        def after_return(self, *_: Any) -> None:
            story.append("after_return")

    def hear(signal: signals.Signal, **_: Any) -> None:
        story.append(str(signal.name))

    told = [signals.task_received, signals.task_prerun, signals.task_success, signals.task_postrun]
    for one in told:
        one.connect(hear)
    try:
        with app.testing() as stepper:
            app.task(name="work", base=Base)(lambda: story.append("run")).delay()
            stepper.run()
    finally:
        for one in told:
            one.disconnect(hear)
    assert story == [
        "task_received",
        "task_prerun",
        "before_start",
        "run",
        "on_success",
        "task_success",
        "after_return",
        "task_postrun",
    ]


def test_TSK_10_options_of_a_call_reach_the_run(app: Celery) -> None:
    @app.task(bind=True)
    def look(self: Any) -> dict[str, Any]:
        request = self.request
        names = "id root_id parent_id group group_index shadow timelimit reply_to ignore_result".split()
        return {
            **{name: getattr(request, name) for name in names},
            "tenant": request.tenant,
            "app_id": request.properties["app_id"],
            "priority": request.delivery_info["priority"],
            "queue": request.delivery_info["routing_key"],
        }

    options: dict[str, Any] = {
        "task_id": "an-id",
        "root_id": "the-root",
        "parent_id": "a-parent",
        "group_id": "a-group",
        "group_index": 2,
        "shadow": "alias",
        "time_limit": 9,
        "soft_time_limit": 8,
        "reply_to": "me",
        "ignore_result": False,
        "headers": {"tenant": "x"},
        "app_id": "mine",
        "priority": 6,
        "queue": "other",
        # Of a connection, which is not theirs to choose here.
        "producer": None,
        "retry": True,
        "retry_policy": {"max_retries": 3},
        "mandatory": True,
        "declare": [],
    }
    with app.testing() as stepper:
        look.apply_async(**options)
        (ran,) = stepper.run()
    assert ran.value == {
        "id": "an-id",
        "root_id": "the-root",
        "parent_id": "a-parent",
        "group": "a-group",
        "group_index": 2,
        "shadow": "alias",
        "timelimit": (9, 8),
        "reply_to": "me",
        "ignore_result": False,
        "tenant": "x",
        "app_id": "mine",
        "priority": 6,
        "queue": "other",
    }
    with pytest.raises(TypeError, match="no option 'countdwon': did you mean 'countdown'"):
        look.apply_async(countdwon=5)
