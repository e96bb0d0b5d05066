"""Claims that end without running (again): in a child, and in a supervisor, which runs no code of users."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from celeriac import Celery, signals
from celeriac.exceptions import TimeLimitExceeded, WorkerLostError
from celeriac.message import Claim, Fate, Outcome
from celeriac.wire.packing import pack
from celeriac.wire.task import unpack
from celeriac.worker.aside import in_a_fork
from celeriac.worker.endings import Endings
from celeriac.worker.errors import explained
from celeriac.worker.lost import judge_lost

NOW = 1_700_000_000.5


@pytest.fixture
def app() -> Celery:
    return Celery("proj", broker="memory://", backend="memory://")


def claim(number: int = 1, name: str = "proj.slow", **options: Any) -> Claim:
    held = {word: options.pop(word) for word in ("deliveries", "begun") if word in options}
    payload = pack(name=name, id=f"id-{number}", args=(1,), kwargs={}, queue="celery", **options)
    return Claim(number, "celery", payload, **held)


def endings(app: Celery, **options: Any) -> Endings:
    return Endings(app, "w1@host", lambda: NOW, **options)


def stored(outcome: Outcome) -> Any:
    assert outcome.result is not None
    return json.loads(outcome.result.payload)


def test_the_claims_of_a_dead_child_end_as_the_laws_say(app: Celery) -> None:
    outcomes = judge_lost(
        [
            claim(1, begun=True),
            claim(2),
            claim(3, deliveries=2),
            claim(4),
            Claim(5, "celery", b"no task at all", deliveries=2),
        ],
        begun={1, 2, 3, 5},
        rooms=4,
        max_deliveries=3,
        how="signal 9 (SIGKILL)",
        fail=endings(app).fail,
    )
    fates = [outcome.fate for outcome in outcomes]
    assert fates == [Fate.ACKED, Fate.LOST, Fate.DEAD, Fate.GIVEN_BACK, Fate.DEAD]
    early, dead = stored(outcomes[0]), stored(outcomes[2])
    assert (early["status"], early["task_id"]) == ("FAILURE", "id-1")
    assert early["result"]["exc_message"] == ["Worker exited prematurely: signal 9 (SIGKILL)."]
    assert dead["result"]["exc_type"] == "WorkerLostError"
    assert dead["date_done"] == "2023-11-14T22:13:20.500000+00:00"
    assert outcomes[2].id == "id-3"
    assert outcomes[4].result is None
    assert outcomes[4].id


def test_error_callbacks_of_a_lost_task_go_along(app: Celery) -> None:
    outcome = endings(app).fail(
        claim(errbacks=[app.signature("proj.told")]), WorkerLostError("gone"), "it kills"
    )
    (message,) = outcome.follow_ups
    told = unpack(message.payload)
    assert (told.name, told.arguments(["json"])[0], told.root_id) == ("proj.told", ["id-1"], "id-1")


def listeners(app: Celery, heard: Callable[[str], object]) -> list[Any]:
    """A task `proj.slow` with every kind of listener; returns its errbacks."""

    class Told(app.Task):  # type: ignore[name-defined, misc]
        abstract = True

        async def on_failure(self, exc: Any, task_id: str, *_: Any) -> None:
            heard(f"on_failure {task_id}")

        def after_return(self, status: str, *_: Any) -> None:
            heard(f"after_return {status}")

    @app.task(name="proj.slow", base=Told)
    def slow(x: int) -> None: ...

    @app.task(name="proj.called")
    def called(request: Any, exc: Any, traceback: Any) -> None:
        heard(f"errback {request.id} {exc!r}")

    return [called.s()]


def test_who_wants_to_hear_of_a_failure_does_though_the_task_never_ran(app: Celery) -> None:
    heard: list[str] = []

    def receiver(task_id: str, **_: Any) -> None:
        heard.append(f"task_failure {task_id}")

    errbacks = listeners(app, heard.append)
    signals.task_failure.connect(receiver)
    try:
        outcome = endings(app).fail(claim(errbacks=errbacks), TimeLimitExceeded(1))
    finally:
        signals.task_failure.disconnect(receiver)
    assert (outcome.fate, outcome.follow_ups) == (Fate.ACKED, ())
    assert heard == [
        "errback id-1 TimeLimitExceeded(1)",
        "on_failure id-1",
        "task_failure id-1",
        "after_return FAILURE",
    ]


def test_a_supervisor_lets_the_users_code_run_in_a_process_of_its_own(app: Celery) -> None:
    reader, writer = os.pipe()
    try:
        errbacks = listeners(app, lambda word: os.write(writer, f"{os.getpid()} {word}\n".encode()))
        endings(app, runs_user_code=False).fail(claim(errbacks=errbacks), TimeLimitExceeded(1))
    finally:
        os.close(writer)
    with os.fdopen(reader) as heard:
        lines = [line.split(maxsplit=1) for line in heard]
    assert [word for _, word in lines] == [
        "errback id-1 TimeLimitExceeded(1)\n",
        "on_failure id-1\n",
        "after_return FAILURE\n",
    ]
    assert str(os.getpid()) not in {pid for pid, _ in lines}


def test_a_process_of_its_own_may_crash(app: Celery) -> None:
    in_a_fork(lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_a_traceback_begins_with_the_users_line() -> None:
    def user() -> None:
        raise ValueError("no")

    try:
        user()
    except ValueError as error:
        info = explained(error)
    assert "in user" in str(info)
    assert repr(info) == "<ExceptionInfo: ValueError>"
