"""From a claim to its outcome, without a worker: what is stored, sent and said however a task ends."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from celeriac import Celery, group, signals
from celeriac.exceptions import (
    EncodeError,
    Ignore,
    OperationalError,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    Terminated,
    TimeLimitExceeded,
    WorkerShutdown,
)
from celeriac.message import Claim, Fate, Outcome, Result
from celeriac.request import current
from celeriac.wire.packing import pack
from celeriac.wire.task import unpack
from celeriac.worker.execute import Executor, Job

NOW = 1_700_000_000.25
HOST = "w1@host"


class World:
    """An app, an executor with a clock that stands still, and what was logged."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("result_backend", "memory://")
        self.app = Celery("proj", broker="memory://", **settings)
        self.now = NOW
        self.saved: list[Result] = []
        self.save: Callable[[Result], None] = self.saved.append
        self._executor: Executor | None = None

    @property
    def executor(self) -> Executor:
        if self._executor is None:
            self._executor = Executor(self.app, HOST, now=lambda: self.now, save=self.save)
        return self._executor

    def task(self, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        """Declare a task `proj.<function>`."""
        if function is None:
            return lambda found: self.task(found, **options)
        return self.app.task(name=f"proj.{function.__name__}", **options)(function)

    def prepare(self, name: str, *args: Any, **options: Any) -> Job | Outcome:
        return self.executor.prepare(claim(name, *args, **options))

    def job(self, name: str, *args: Any, **options: Any) -> Job:
        prepared = self.prepare(name, *args, **options)
        assert isinstance(prepared, Job), prepared
        return prepared

    def run(self, name: str, *args: Any, **options: Any) -> Outcome:
        return self.job(name, *args, **options).run()

    async def arun(self, name: str, *args: Any, **options: Any) -> Outcome:
        return await self.job(name, *args, **options).arun()


def claim(name: str, *args: Any, deliveries: int = 0, begun: bool = False, **options: Any) -> Claim:
    payload = pack(
        name=name,
        id=options.pop("id", "the-id"),
        args=args,
        kwargs=options.pop("kwargs", {}),
        queue="celery",
        **options,
    )
    return Claim(7, "celery", payload, deliveries, begun)


def meta(outcome: Outcome | Job) -> dict[str, Any]:
    assert isinstance(outcome, Outcome)
    assert outcome.result is not None
    assert outcome.result.task_id == "the-id"
    found: dict[str, Any] = json.loads(outcome.result.payload)
    return found


def sent(outcome: Outcome | Job) -> list[tuple[str, list[Any]]]:
    """(task, args) of every follow-up."""
    assert isinstance(outcome, Outcome)
    messages = [unpack(message.payload) for message in outcome.follow_ups]
    return [(message.name, message.arguments(["json"])[0]) for message in messages]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="celery")


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


@contextmanager
def hearing(heard: list[Any], *told: signals.Signal) -> Iterator[None]:
    def hear(signal: signals.Signal, sender: Any, **named: Any) -> None:
        heard.append((signal.name, sender, named))

    for one in told:
        one.connect(hear)
    try:
        yield
    finally:
        for one in told:
            one.disconnect(hear)


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOW + seconds, UTC)


# --- success ----------------------------------------------------------------------------------------------


def test_a_success_is_acknowledged_with_its_result(world: World) -> None:
    @world.task
    def add(x: int, y: int = 0) -> int:
        return x + y

    outcome = world.run("proj.add", 1, kwargs={"y": 2})
    assert (outcome.number, outcome.fate, outcome.follow_ups) == (7, Fate.ACKED, ())
    assert meta(outcome) == {
        "status": "SUCCESS",
        "result": 3,
        "traceback": None,
        "children": [],
        "date_done": "2023-11-14T22:13:20.250000+00:00",
        "task_id": "the-id",
    }
    assert outcome.result is not None
    assert outcome.result.ttl == 86400.0


def test_success_is_said_in_celerys_words(world: World, caplog: pytest.LogCaptureFixture) -> None:
    @world.task
    def greet() -> str:
        return "hello"

    world.run("proj.greet")
    received, succeeded = lines(caplog)
    assert received == "Task proj.greet[the-id] received"
    assert succeeded.startswith("Task proj.greet[the-id] succeeded in ")
    assert succeeded.endswith("s: 'hello'")
    assert [record.name for record in caplog.records] == ["celery.worker.strategy", "celery.app.trace"]
    data = caplog.records[1].data  # type: ignore[attr-defined]
    assert (data["id"], data["name"], data["hostname"]) == ("the-id", "proj.greet", HOST)
    assert data["return_value"] == "'hello'"


def test_a_shadow_name_is_the_name_in_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    @world.task
    def greet() -> None: ...

    world.run("proj.greet", shadow="welcome")
    assert lines(caplog)[0] == "Task welcome[the-id] received"
    assert lines(caplog)[1].startswith("Task welcome[the-id] succeeded in ")


def test_nothing_is_stored_for_ignored_results_or_without_a_store(world: World) -> None:
    @world.task(ignore_result=True)
    def quiet() -> int:
        return 1

    @world.task
    def loud() -> int:
        return 1

    assert world.run("proj.quiet", headers={"ignore_result": None}).result is None
    assert world.run("proj.quiet", ignore_result=True).result is None
    assert world.run("proj.quiet", ignore_result=False).result is not None
    assert world.run("proj.loud", ignore_result=True).result is None

    without = World(result_backend=None)

    @without.task
    def plain() -> int:
        return 1

    assert without.run("proj.plain").result is None


def test_failures_of_ignored_results_are_stored_where_asked_for() -> None:
    world = World(task_store_errors_even_if_ignored=True)

    @world.task(ignore_result=True)
    def boom() -> None:
        raise ValueError

    assert meta(world.run("proj.boom", ignore_result=True))["status"] == "FAILURE"


def test_results_live_as_long_as_the_settings_say() -> None:
    world = World(result_expires=10, result_failure_expires=20)

    @world.task
    def either(fails: bool) -> None:
        if fails:
            raise ValueError

    success, failure = world.run("proj.either", False), world.run("proj.either", True)
    assert success.result is not None
    assert failure.result is not None
    assert (success.result.ttl, failure.result.ttl) == (10, 20)


def test_extended_results_say_what_was_called(world: World) -> None:
    world = World(result_extended=True)

    @world.task
    def add(x: int, y: int) -> int:
        return x + y

    stored = meta(world.run("proj.add", 1, kwargs={"y": 2}, retries=1))
    assert {key: stored[key] for key in ("name", "args", "kwargs", "worker", "retries", "queue")} == {
        "name": "proj.add",
        "args": [1],
        "kwargs": {"y": 2},
        "worker": HOST,
        "retries": 1,
        "queue": "celery",
    }


def test_a_started_task_is_said_to_be_started_only_if_tracked(world: World) -> None:
    @world.task(track_started=True)
    def tracked() -> int:
        return len(world.saved)

    @world.task
    def untracked() -> int:
        return len(world.saved)

    assert meta(world.run("proj.untracked"))["result"] == 0
    assert meta(world.run("proj.tracked"))["result"] == 1
    started = json.loads(world.saved[0].payload)
    assert started["status"] == "STARTED"
    assert started["result"]["hostname"] == HOST
    assert started["date_done"] is None


def test_the_rest_of_a_chain_and_the_callbacks_go_along(world: World) -> None:
    @world.task
    def add(x: int, y: int) -> int:
        return x + y

    third, second = add.s(100), add.s(10)
    outcome = world.run("proj.add", 1, 2, callbacks=[add.s(5)], chain=[third, second])
    assert sent(outcome) == [("proj.add", [3, 5]), ("proj.add", [3, 10])]
    following = unpack(outcome.follow_ups[1].payload)
    assert (following.parent_id, following.root_id) == ("the-id", "the-id")
    assert len(following.arguments(["json"])[2]["chain"]) == 1


def test_calls_made_by_the_task_are_its_children(world: World) -> None:
    @world.task
    def other() -> None: ...

    @world.task
    def parent() -> None:
        other.apply_async(task_id="child")

    assert meta(world.run("proj.parent"))["children"] == [[["child", None], None]]


# --- what a task sees -------------------------------------------------------------------------------------


def test_a_task_sees_its_request_and_nobody_does_afterwards(world: World) -> None:
    @world.task(bind=True)
    def look(self: Any, x: int) -> list[Any]:
        assert current() is self.request
        return [self.request.id, self.request.args, self.request.hostname, self.request.called_directly]

    assert meta(world.run("proj.look", 1))["result"] == ["the-id", [1], HOST, False]
    assert current() is None


def test_a_base_class_that_overrides_call_is_called(world: World) -> None:
    class Doubling(world.app.Task):  # type: ignore[name-defined, misc]
        abstract = True

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return [self.request.id, super().__call__(*args, **kwargs)]

    @world.task(base=Doubling)
    def add(x: int, y: int) -> int:
        return x + y

    assert meta(world.run("proj.add", 1, 2))["result"] == ["the-id", 3]


def test_handlers_and_signals_come_in_celerys_order(world: World) -> None:
    heard: list[Any] = []

    class Told(world.app.Task):  # type: ignore[name-defined, misc]
        abstract = True

        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            heard.append(("before_start", task_id, args, kwargs))

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            heard.append(("on_success", retval))

        def after_return(self, status: str, retval: Any, *_: Any) -> None:
            heard.append(("after_return", status, retval))

    @world.task(base=Told)
    def add(x: int, y: int) -> int:
        heard.append("run")
        return x + y

    told = (signals.task_prerun, signals.task_success, signals.task_postrun)
    with hearing(heard, *told):
        world.run("proj.add", 1, 2)
    names = [one if isinstance(one, str) else one[0] for one in heard]
    assert names == [
        "task_prerun",
        "before_start",
        "run",
        "on_success",
        "task_success",
        "after_return",
        "task_postrun",
    ]
    assert heard[0][1] is add
    assert heard[-1][2]["state"] == "SUCCESS"
    assert heard[-1][2]["retval"] == 3


def test_errors_after_a_success_are_told_and_change_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class Clumsy(world.app.Task):  # type: ignore[name-defined, misc]
        abstract = True

        def on_success(self, *_: Any) -> None:
            raise ValueError("in on_success")

        def after_return(self, *_: Any) -> None:
            raise ValueError("in after_return")

    @world.task(base=Clumsy)
    def fine() -> int:
        return 1

    assert meta(world.run("proj.fine"))["status"] == "SUCCESS"
    assert lines(caplog, logging.ERROR) == [
        "Task proj.fine[the-id] on_success handler raised: ValueError('in on_success')",
        "Task proj.fine[the-id] after_return handler raised: ValueError('in after_return')",
    ]


def test_an_error_before_the_start_is_the_tasks_failure(world: World) -> None:
    class Picky(world.app.Task):  # type: ignore[name-defined, misc]
        abstract = True

        def before_start(self, *_: Any) -> None:
            raise ValueError("not today")

    @world.task(base=Picky)
    def never() -> None: ...

    assert meta(world.run("proj.never"))["result"]["exc_message"] == ["not today"]


# --- failure ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"autoretry_for": [ValueError], "max_retries": 0}])
def test_a_failure_is_stored_with_the_traceback_of_the_users_code(
    world: World, caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    @world.task(**options)
    def boom() -> None:
        raise ValueError("no")

    outcome = world.run("proj.boom")
    stored = meta(outcome)
    assert outcome.fate is Fate.ACKED
    assert (stored["status"], stored["result"]) == (
        "FAILURE",
        {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"},
    )
    assert stored["traceback"].startswith("Traceback (most recent call last):\n")
    assert stored["traceback"].endswith("ValueError: no\n")
    assert "in boom" in stored["traceback"]
    assert "src/celeriac" not in stored["traceback"]
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.getMessage() == "Task proj.boom[the-id] raised unexpected: ValueError('no')"
    assert record.exc_info is not None


def test_an_expected_failure_is_no_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    @world.task(throws=(KeyError,))
    def boom() -> None:
        raise KeyError("k")

    assert meta(world.run("proj.boom"))["status"] == "FAILURE"
    assert lines(caplog)[-1] == "Task proj.boom[the-id] raised expected: KeyError('k')"
    assert caplog.records[-1].exc_info is None


def test_failure_handlers_get_the_error_and_its_traceback(world: World) -> None:
    heard: list[Any] = []

    class Told(world.app.Task):  # type: ignore[name-defined, misc]
        abstract = True

        def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            heard.append((repr(exc), task_id, "ValueError: no" in str(einfo), einfo.exception is exc))

        def after_return(self, status: str, retval: Any, *_: Any) -> None:
            heard.append((status, repr(retval)))

    @world.task(base=Told)
    def boom() -> None:
        raise ValueError("no")

    with hearing(heard, signals.task_failure, signals.task_postrun):
        world.run("proj.boom")
    assert heard[0] == ("ValueError('no')", "the-id", True, True)
    assert heard[1][0] == "task_failure"
    assert heard[1][2]["traceback"].tb_frame.f_code.co_name == "boom"
    assert heard[2] == ("FAILURE", "ValueError('no')")
    assert heard[3][2]["state"] == "FAILURE"


def test_error_callbacks_are_sent_or_called_as_their_parameters_say(world: World) -> None:
    heard: list[Any] = []

    @world.task
    def by_id(task_id: str) -> None: ...

    @world.task
    def with_the_error(request: Any, exc: Any, traceback: Any) -> None:
        heard.append((request.id, repr(exc), "ValueError: no" in traceback))

    @world.task
    def boom() -> None:
        raise ValueError("no")

    elsewhere = world.app.signature("other.app.task")
    outcome = world.run("proj.boom", errbacks=[by_id.s(), with_the_error.s(), elsewhere])
    assert sent(outcome) == [("proj.by_id", ["the-id"]), ("other.app.task", ["the-id"])]
    assert heard == [("the-id", "ValueError('no')", True)]


def test_arguments_that_do_not_fit_are_a_type_error(world: World) -> None:
    @world.task
    def one(x: int) -> None: ...

    stored = meta(world.run("proj.one"))
    assert stored["result"]["exc_type"] == "TypeError"
    assert "missing 1 required positional argument: 'x'" in stored["result"]["exc_message"][0]


def test_a_result_that_cannot_be_encoded_is_a_failure_and_nothing_follows(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    @world.task
    def odd() -> object:
        return object()

    @world.task
    def after(value: Any) -> None: ...

    for options in ({}, {"callbacks": [after.s()]}):
        outcome = world.run("proj.odd", **options)
        assert outcome.fate is Fate.ACKED
        assert meta(outcome)["result"]["exc_type"] == "EncodeError"
        assert outcome.follow_ups == ()
    assert "raised unexpected: EncodeError(" in lines(caplog, logging.ERROR)[0]


class Unspeakable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(lambda: None)

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class Silent(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


@pytest.mark.parametrize("hostile", [lambda: Unspeakable(1, 2), Silent])
def test_hostile_exceptions_are_stored_by_their_type(
    world: World, hostile: Callable[[], BaseException]
) -> None:
    @world.task
    def boom() -> None:
        raise hostile()

    outcome = world.run("proj.boom")
    assert outcome.fate is Fate.ACKED
    assert meta(outcome)["result"]["exc_type"] == type(hostile()).__name__


def test_a_task_that_exits_has_failed_and_the_worker_goes_on(world: World) -> None:
    @world.task
    def leave() -> None:
        sys.exit(3)

    assert meta(world.run("proj.leave"))["result"]["exc_type"] == "SystemExit"


def test_ctrl_c_reaches_the_caller_only_where_a_person_may_have_pressed_it(world: World) -> None:
    @world.task
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.run("proj.interrupted")
    assert current() is None
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        assert meta(world.run("proj.interrupted"))["result"]["exc_type"] == "KeyboardInterrupt"
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_task_may_end_the_worker(world: World) -> None:
    @world.task
    def stop() -> None:
        raise WorkerShutdown(0)

    with pytest.raises(WorkerShutdown):
        world.run("proj.stop")
    assert current() is None


@pytest.mark.parametrize(
    ("options", "fate"),
    [
        ({}, Fate.ACKED),
        ({"acks_on_failure": False}, Fate.DEAD),
        ({"acks_on_failure_or_timeout": False}, Fate.DEAD),
        ({"acks_on_failure_or_timeout": False, "acks_on_failure": True}, Fate.ACKED),
        ({"acks_on_failure": False, "acks_late": False}, Fate.ACKED),
        ({"acks_on_timeout": False}, Fate.ACKED),
    ],
)
def test_a_failure_is_kept_as_a_dead_letter_where_the_task_says_so(
    world: World, options: dict[str, Any], fate: Fate
) -> None:
    @world.task(**options)
    def boom() -> None:
        raise ValueError("no")

    outcome = world.run("proj.boom")
    assert outcome.fate is fate
    assert meta(outcome)["status"] == "FAILURE"
    if fate is Fate.DEAD:
        assert (outcome.id, outcome.reason) == ("the-id", "ValueError: no")


# --- what a task says by raising --------------------------------------------------------------------------


def test_a_retry_sends_the_next_try_in_the_same_step(world: World, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []

    class Told(world.app.Task):  # type: ignore[name-defined, misc]
        abstract = True

        def on_retry(self, exc: Any, *_: Any) -> None:
            heard.append(repr(exc))

        def after_return(self, *_: Any) -> None:
            heard.append("after_return")

    @world.task(bind=True, base=Told)
    def again(self: Any) -> None:
        try:
            raise ValueError("v")
        except ValueError as error:
            raise self.retry(exc=error, countdown=0.2) from error

    outcome = world.run("proj.again")
    assert outcome.fate is Fate.ACKED
    (message,) = outcome.follow_ups
    following = unpack(message.payload)
    assert (following.id, following.retries) == ("the-id", 1)
    assert message.eta is not None
    stored = meta(outcome)
    assert (stored["status"], stored["result"]["exc_type"]) == ("RETRY", "ValueError")
    assert 'raise ValueError("v")\n' in stored["traceback"]
    assert stored["traceback"].endswith("Retry: Retry in 0.2s: ValueError('v')\n")
    assert lines(caplog)[-1] == "Task proj.again[the-id] retry: Retry in 0.2s: ValueError('v')"
    assert "raise ValueError" in (caplog.records[-1].exc_text or caplog.text)
    assert heard == ["ValueError('v')"]


def test_a_retry_that_is_returned_counts_too(world: World) -> None:
    @world.task(bind=True)
    def again(self: Any) -> Any:
        return self.retry(throw=False, countdown=1)

    outcome = world.run("proj.again")
    assert len(outcome.follow_ups) == 1
    assert meta(outcome)["status"] == "RETRY"


def test_the_last_retry_fails_with_the_error(world: World) -> None:
    @world.task(bind=True, max_retries=1)
    def again(self: Any) -> None:
        raise self.retry(exc=ValueError("v"))

    outcome = world.run("proj.again", retries=1)
    assert outcome.follow_ups == ()
    assert meta(outcome)["result"]["exc_type"] == "ValueError"


def test_an_ignored_task_leaves_no_result(world: World, caplog: pytest.LogCaptureFixture) -> None:
    @world.task
    def ignored() -> None:
        raise Ignore

    outcome = world.run("proj.ignored")
    assert (outcome.fate, outcome.result) == (Fate.ACKED, None)
    assert lines(caplog)[-1] == "Task proj.ignored[the-id] ignored"


def test_a_rejected_task_is_a_dead_letter_or_given_back(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    @world.task
    def rejected(requeue: bool) -> None:
        raise Reject("why", requeue=requeue)

    assert world.run("proj.rejected", True).fate is Fate.GIVEN_BACK
    outcome = world.run("proj.rejected", False)
    assert (outcome.fate, outcome.id) == (Fate.DEAD, "the-id")
    assert meta(outcome)["result"]["exc_type"] == "Reject"
    assert lines(caplog, logging.WARNING) == [
        "Task proj.rejected[the-id] reject requeue=True: why",
        "Task proj.rejected[the-id] reject requeue=False: why",
    ]


def test_what_was_acknowledged_early_cannot_be_rejected(world: World) -> None:
    @world.task(acks_late=False)
    def rejected(requeue: bool) -> None:
        raise Reject("why", requeue=requeue)

    assert world.job("proj.rejected", True).early_ack
    assert world.run("proj.rejected", True).fate is Fate.ACKED
    assert world.run("proj.rejected", False).fate is Fate.ACKED


# --- claims that do not run -------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"\xff\xfe", b"{", b"[1, 2]", b'{"body": 1}', b"[" * 100_000])
def test_bytes_that_are_no_task_become_a_dead_letter(
    world: World, caplog: pytest.LogCaptureFixture, payload: bytes
) -> None:
    outcome = world.executor.prepare(Claim(7, "celery", payload))
    assert isinstance(outcome, Outcome)
    assert (outcome.number, outcome.fate) == (7, Fate.DEAD)
    assert outcome.id
    assert outcome.reason
    assert lines(caplog, logging.ERROR)[0].startswith("Received invalid task message: ")


def test_a_content_type_that_is_not_accepted_is_never_decoded(world: World) -> None:
    @world.task
    def add(x: int, y: int) -> None: ...

    outcome = world.prepare("proj.add", 1, 2, serializer="pickle")
    assert isinstance(outcome, Outcome)
    assert outcome.fate is Fate.DEAD
    assert outcome.id == "the-id"
    assert "ContentDisallowed" in outcome.reason
    assert meta(outcome)["result"]["exc_type"] == "ContentDisallowed"


def test_an_unknown_task_waits_for_a_worker_that_knows_it_and_is_told_once_a_minute(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def prepared() -> Outcome | Job:
        return world.prepare("proj.nobody")

    outcome = prepared()
    assert isinstance(outcome, Outcome)
    assert (outcome.fate, outcome.result) == (Fate.DEFERRED, None)
    assert NOW + 2.5 <= outcome.eta <= NOW + 5.0
    first = lines(caplog, logging.ERROR)[0]
    assert first.startswith("Received unregistered task of type 'proj.nobody'.\n")
    assert "the-id" in first
    world.now += 59
    prepared()
    assert len(lines(caplog, logging.ERROR)) == 1
    world.now += 2
    prepared()
    assert len(lines(caplog, logging.ERROR)) == 2


def test_an_expired_task_is_revoked(world: World, caplog: pytest.LogCaptureFixture) -> None:
    @world.task
    def late() -> None: ...

    heard: list[Any] = []
    with hearing(heard, signals.task_revoked):
        outcome = world.prepare("proj.late", expires=at(-1))
    assert isinstance(outcome, Outcome)
    assert outcome.fate is Fate.ACKED
    assert meta(outcome)["status"] == "REVOKED"
    assert meta(outcome)["result"]["exc_type"] == "TaskRevokedError"
    assert meta(outcome)["result"]["exc_message"] == ["expired"]
    assert lines(caplog)[-1] == "Discarding revoked task: proj.late[the-id]"
    assert heard[0][2]["expired"] is True
    assert isinstance(world.prepare("proj.late", expires=at(1)), Job)


def test_a_revoked_task_does_not_run(world: World) -> None:
    @world.task
    def unwanted() -> None: ...

    world.executor.revoked = {"the-id"}
    heard: list[Any] = []
    with hearing(heard, signals.task_revoked):
        outcome = world.prepare("proj.unwanted")
    assert meta(outcome)["result"]["exc_message"] == ["revoked"]
    assert heard[0][2]["expired"] is heard[0][2]["terminated"] is False


def test_a_revoked_task_waits_neither_for_its_time_nor_for_its_module(world: World) -> None:
    @world.task
    def later() -> None: ...

    world.executor.revoked = {"the-id"}
    for outcome in (world.prepare("proj.later", eta=at(60)), world.prepare("proj.nobody_knows")):
        assert isinstance(outcome, Outcome)
        assert outcome.fate is Fate.ACKED
        assert meta(outcome)["status"] == "REVOKED"


def test_a_claim_goes_back_while_nobody_can_say_whether_it_is_revoked(world: World) -> None:
    @world.task
    def any_task() -> None: ...

    class Away:
        def __contains__(self, id: object) -> bool:
            raise OperationalError("the store is away")

    world.executor.revoked = Away()
    outcome = world.prepare("proj.any_task")
    assert isinstance(outcome, Outcome)
    assert outcome.fate is Fate.GIVEN_BACK


def test_a_foreign_eta_goes_to_the_delayed_messages_once(world: World) -> None:
    @world.task
    def later() -> None: ...

    outcome = world.prepare("proj.later", eta=at(60))
    assert isinstance(outcome, Outcome)
    assert (outcome.fate, outcome.eta) == (Fate.DEFERRED, NOW + 60)
    # The store says it is due, so it is our clock that was set back: no going round for an hour.
    assert isinstance(world.prepare("proj.later", eta=at(60)), Job)
    assert isinstance(world.prepare("proj.later", eta=at(-60)), Job)


def test_an_eta_that_is_no_time_is_invalid(world: World) -> None:
    @world.task
    def later() -> None: ...

    outcome = world.prepare("proj.later", headers={"eta": "soon"})
    assert isinstance(outcome, Outcome)
    assert outcome.fate is Fate.DEAD
    assert "invalid eta or expires" in outcome.reason


@pytest.mark.parametrize(
    "before",
    [b"[" * 3000, b'{"a":' * 3000, b"[1] ", b"\xff", b'{"headers": [' + b"[" * 3000, b""],
    ids=["deep list", "deep object", "list", "no text", "deep headers", "beheaded"],
)
def test_a_message_that_shows_its_id_and_nothing_else_is_invalid(world: World, before: bytes) -> None:
    outcome = world.executor.prepare(Claim(1, "celery", before + b' "task": "proj.add", "id": "the-id"'))
    assert isinstance(outcome, Outcome)
    assert outcome.fate is Fate.DEAD
    assert outcome.id == "the-id"
    assert outcome.reason.startswith("DecodeError: this is no task message"), outcome.reason


def test_what_began_and_was_acknowledged_early_never_runs_again(world: World) -> None:
    @world.task
    def by_id(task_id: str) -> None: ...

    outcome = world.prepare("proj.unknown_here", begun=True, errbacks=[by_id.s()])
    assert isinstance(outcome, Outcome)
    assert outcome.fate is Fate.ACKED
    assert meta(outcome)["result"]["exc_type"] == "WorkerLostError"
    assert sent(outcome) == [("proj.by_id", ["the-id"])]


def test_what_killed_too_many_workers_becomes_a_dead_letter(world: World) -> None:
    @world.task
    def by_id(task_id: str) -> None: ...

    @world.task
    def segfault() -> None: ...

    assert isinstance(world.prepare("proj.segfault", deliveries=2), Job)
    outcome = world.prepare("proj.segfault", deliveries=3, errbacks=[by_id.s()])
    assert isinstance(outcome, Outcome)
    assert (outcome.fate, outcome.id) == (Fate.DEAD, "the-id")
    assert outcome.reason == "WorkerLostError: 3 worker processes died while running this task"
    assert meta(outcome)["result"]["exc_type"] == "WorkerLostError"
    assert sent(outcome) == [("proj.by_id", ["the-id"])]


# --- ended from outside -----------------------------------------------------------------------------------


def test_limits_are_those_of_the_call_then_of_the_task(world: World) -> None:
    @world.task(time_limit=10, soft_time_limit=5)
    def limited() -> None: ...

    @world.task
    def free() -> None: ...

    assert world.job("proj.limited").time_limits == (5, 10)
    assert world.job("proj.limited", timelimit=(3, None)).time_limits == (5, 3)
    assert world.job("proj.free", timelimit=(3, 1)).time_limits == (1, 3)
    assert world.job("proj.free").time_limits == (None, None)


def test_a_pool_may_end_a_job(world: World) -> None:
    @world.task
    def slow() -> None: ...

    @world.task(acks_on_timeout=False)
    def kept() -> None: ...

    limited = world.job("proj.slow").fail(TimeLimitExceeded(1))
    assert (limited.fate, meta(limited)["result"]["exc_type"]) == (Fate.ACKED, "TimeLimitExceeded")
    assert world.job("proj.kept").fail(TimeLimitExceeded(1)).fate is Fate.DEAD
    terminated = world.job("proj.slow").fail(Terminated(15))
    assert meta(terminated)["status"] == "REVOKED"
    assert meta(terminated)["result"]["exc_message"] == ["terminated"]


def test_running_is_true_only_while_the_tasks_own_code_runs(world: World) -> None:
    seen: list[bool] = []

    @world.task
    def look() -> None:
        seen.append(job.running)

    job = world.job("proj.look")
    seen.append(job.running)
    job.run()
    seen.append(job.running)
    assert seen == [False, True, False]


def test_the_soft_limit_may_be_caught_by_the_task(world: World) -> None:
    @world.task
    def careful() -> str:
        try:
            raise SoftTimeLimitExceeded(1)
        except SoftTimeLimitExceeded:
            return "cleaned up"

    assert meta(world.run("proj.careful"))["result"] == "cleaned up"


# --- coroutines -------------------------------------------------------------------------------------------


def test_a_coroutine_runs_with_its_request_and_its_async_handlers(world: World) -> None:
    heard: list[Any] = []

    class Told(world.app.Task):  # type: ignore[name-defined, misc]
        abstract = True

        async def before_start(self, *_: Any) -> None:
            await asyncio.sleep(0)
            heard.append("before_start")

        async def on_success(self, retval: Any, *_: Any) -> None:
            await asyncio.sleep(0)
            heard.append(retval)

    @world.task(bind=True, base=Told)
    async def look(self: Any, x: int) -> str:
        await asyncio.sleep(0)
        assert current() is self.request
        return f"{self.request.id} {x}"

    async def receiver(**_: Any) -> None:
        await asyncio.sleep(0)
        heard.append("task_prerun")

    signals.task_prerun.connect(receiver)
    try:
        assert world.job("proj.look", 1).is_async
        outcome = asyncio.run(world.arun("proj.look", 1))
    finally:
        signals.task_prerun.disconnect(receiver)
    assert meta(outcome)["result"] == "the-id 1"
    assert heard == ["task_prerun", "before_start", "the-id 1"]


def test_a_failing_coroutine_shows_the_users_lines_only(world: World) -> None:
    @world.task
    async def boom() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    stored = meta(asyncio.run(world.arun("proj.boom")))
    assert stored["result"]["exc_type"] == "ValueError"
    assert "in boom" in stored["traceback"]
    assert "celeriac/worker" not in stored["traceback"]


def test_many_coroutines_keep_their_requests_apart(world: World) -> None:
    @world.task(bind=True)
    async def look(self: Any) -> str:
        await asyncio.sleep(0)
        return str(self.request.id)

    async def both() -> list[Outcome]:
        jobs = [world.executor.prepare(claim("proj.look", id=one)) for one in ("a", "b")]
        return await asyncio.gather(*(job.arun() for job in jobs if isinstance(job, Job)))

    results = [outcome.result for outcome in asyncio.run(both())]
    assert [json.loads(one.payload)["result"] for one in results if one] == ["a", "b"]


def test_an_async_handler_of_a_plain_task_is_awaited_too(world: World) -> None:
    heard: list[Any] = []

    class Told(world.app.Task):  # type: ignore[name-defined, misc]
        abstract = True

        async def on_success(self, retval: Any, *_: Any) -> None:
            await asyncio.sleep(0)
            heard.append(retval)

    @world.task(base=Told)
    def plain() -> int:
        return 1

    world.run("proj.plain")
    assert heard == [1]


def test_a_cancelled_coroutine_ends_with_what_it_was_cancelled_for(world: World) -> None:
    @world.task
    async def slow() -> None:
        await asyncio.sleep(3600)

    async def limited() -> Outcome:
        job = world.job("proj.slow")
        running = asyncio.ensure_future(job.arun())
        await asyncio.sleep(0)
        job.interruption = SoftTimeLimitExceeded(1)
        running.cancel()
        return await running

    assert meta(asyncio.run(limited()))["result"]["exc_type"] == "SoftTimeLimitExceeded"


def test_a_coroutine_cancelled_for_no_reason_is_left_to_its_caller(world: World) -> None:
    @world.task
    async def slow() -> None:
        await asyncio.sleep(3600)

    @world.task
    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    async def cancelled() -> None:
        running = asyncio.ensure_future(world.arun("proj.slow"))
        await asyncio.sleep(0)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert meta(asyncio.run(world.arun("proj.cancels_itself")))["status"] == "FAILURE"


# --- odds and ends ----------------------------------------------------------------------------------------


def test_what_a_task_sent_by_retry_goes_along_also_when_it_fails(world: World) -> None:
    @world.task(bind=True)
    def odd(self: Any) -> None:
        self.retry(throw=False)
        raise ValueError("after all")

    outcome = world.run("proj.odd")
    assert sent(outcome) == [("proj.odd", [])]
    assert meta(outcome)["status"] == "FAILURE"


def test_a_raised_retry_without_a_message_is_a_retry(world: World) -> None:
    @world.task
    def bare() -> None:
        raise Retry("by hand")

    assert meta(world.run("proj.bare"))["status"] == "RETRY"


def test_a_started_state_that_cannot_be_stored_does_not_stop_the_task(world: World) -> None:
    def refuse(_: Result) -> None:
        raise OSError("store is away")

    @world.task(track_started=True)
    def tracked() -> int:
        return 1

    world.save = refuse
    assert meta(world.run("proj.tracked"))["result"] == 1


# --- the short way ----------------------------------------------------------------------------------------


def give(self: Any) -> Any:
    return {"args": self.request.args, "retries": self.request.retries}


def fail(self: Any) -> Any:
    raise KeyError("no")


def leave(self: Any) -> Any:
    sys.exit(3)


def give_what_cannot_travel(self: Any) -> Any:
    return object()


def give_a_coroutine(self: Any) -> Any:
    async def later() -> str:
        await asyncio.sleep(0)
        return f"later, {current().id}"  # type: ignore[union-attr]

    return later()


def give_a_coroutine_that_fails(self: Any) -> Any:
    async def later() -> str:
        raise ValueError("later")

    return later()


def retry(self: Any) -> Any:
    raise self.retry(countdown=5)


def retry_by_returning(self: Any) -> Any:
    return self.retry(countdown=5, throw=False)


def ignore(self: Any) -> Any:
    raise Ignore


def reject(self: Any) -> Any:
    raise Reject("bad", requeue=False)


KINDS = [
    give,
    fail,
    leave,
    give_what_cannot_travel,
    give_a_coroutine,
    give_a_coroutine_that_fails,
    retry,
    retry_by_returning,
    ignore,
    reject,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_run_ends_the_same_whether_somebody_listens_or_not(
    world: World, caplog: pytest.LogCaptureFixture, kind: Callable[..., Any]
) -> None:
    world.task(kind, bind=True)
    follow: dict[str, Any] = {"callbacks": [{"task": "proj.then", "args": [], "kwargs": {}, "options": {}}]}

    def run() -> Any:
        outcome = world.run(f"proj.{kind.__name__}", root_id="root", parent_id="parent", **follow)
        assert current() is None
        stored = json.loads(outcome.result.payload) if outcome.result else None
        if stored:
            stored["children"] = len(stored["children"])  # their ids differ
        return outcome.fate, stored, sent(outcome), outcome.reason

    told = run()  # everything_is_logged: the whole pipeline
    caplog.set_level(logging.WARNING, logger="celery")
    assert run() == told


def test_a_change_of_a_task_holds_from_the_next_message_on(world: World) -> None:
    task = world.task(nothing_to_do)
    assert world.job("proj.nothing_to_do").time_limits == (None, None)
    task.time_limit = 5
    assert world.job("proj.nothing_to_do").time_limits == (None, 5)
    world.app.conf.task_soft_time_limit = 3
    assert world.job("proj.nothing_to_do").time_limits == (3, 5)


def nothing_to_do() -> None:
    pass


def test_a_message_that_is_too_large_is_kept_as_a_dead_letter_and_not_looked_at() -> None:
    world = World(task_max_bytes=1000)
    outcome = world.prepare("proj.any", "x" * 1000)
    assert isinstance(outcome, Outcome)
    assert outcome.fate is Fate.DEAD
    assert "task_max_bytes allows 1000 bytes" in outcome.reason
    assert (meta(outcome)["status"], meta(outcome)["task_id"]) == ("FAILURE", "the-id")


def test_a_step_may_look_at_the_rest_of_its_chain_and_change_it() -> None:
    world = World()
    seen: list[str] = []

    @world.task(bind=True)
    def ends(self: Any) -> None:
        seen.append(self.request.chain[-1]["task"])
        self.request.chain = None

    @world.task(bind=True)
    def skips(self: Any) -> None:
        self.request.chain.pop()

    @world.task
    def step(*_: object) -> None: ...

    rest = [step.s(2), step.s(1)]
    assert world.run("proj.ends", chain=rest).follow_ups == ()
    assert seen == ["proj.step"]
    (skipped,) = world.run("proj.skips", chain=rest).follow_ups
    (plain,) = world.run("proj.step", chain=rest).follow_ups
    assert unpack(skipped.payload).arguments({"json"})[0] == [None, 2]
    args, _, embed = unpack(plain.payload).arguments({"json"})
    assert (args, [following["args"] for following in embed["chain"]]) == ([None, 1], [[2]])


def test_what_follows_a_task_is_no_larger_than_what_anybody_sends() -> None:
    """A chain, a retry and a replacement come from the worker, a group in one stream."""
    world = World(task_max_bytes=2000)

    @world.task
    def large(*_: str) -> str:
        return "x" * 1500

    @world.task(bind=True)
    def again(self: Any, *_: str) -> None:
        raise self.retry(args=("x" * 2000,))

    @world.task(bind=True)
    def other(self: Any) -> None:
        self.replace(large.s("x" * 2000))

    outcomes = [
        world.run("proj.large", chain=[large.s()]),
        world.run("proj.again"),
        world.run("proj.other"),
    ]
    for outcome, kind in zip(outcomes, ("EncodeError", "Reject", "EncodeError"), strict=True):
        found = meta(outcome)
        assert (found["status"], found["result"]["exc_type"]) == ("FAILURE", kind)
        assert "more than task_max_bytes (2000 bytes)" in str(found["result"]["exc_message"])
        assert outcome.follow_ups == ()
    with pytest.raises(EncodeError, match="more than task_max_bytes"):
        large.apply_many([("x",), ("x" * 2000,)])
    with pytest.raises(EncodeError, match="more than task_max_bytes"):
        group(large.s(text) for text in ("x", "x" * 2000)).delay()


def stop() -> None:
    raise StopIteration("x")


async def astop() -> None:
    raise StopIteration("x")


def leak() -> list[Any]:
    return sorted(next(iter(())) for _ in range(1))


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize(
    ("function", "kind"), [(stop, "StopIteration"), (astop, "StopIteration"), (leak, "RuntimeError")]
)
def test_a_task_that_raises_stopiteration_fails_with_that(
    world: World, caplog: pytest.LogCaptureFixture, function: Any, kind: str, told: bool
) -> None:
    if not told:
        caplog.set_level(logging.ERROR, logger="celery")
    task = world.task(function)
    found = meta(world.run(task.name))
    assert (found["status"], found["result"]["exc_type"]) == ("FAILURE", kind)
    assert f", in {function.__name__}\n" in found["traceback"]
    eager = task.apply(throw=False)
    assert (eager.state, type(eager.result).__name__) == ("FAILURE", kind)


def test_a_failure_that_is_too_large_is_told_all_the_same() -> None:
    world = World(task_max_bytes=1000)

    @world.task
    def chatty() -> None:
        raise ValueError("x" * 1000)

    found = meta(world.run("proj.chatty"))
    assert (found["status"], found["result"]["exc_type"], found["traceback"]) == (
        "FAILURE",
        "EncodeError",
        None,
    )


def test_a_result_that_is_too_large_is_a_failure_that_says_so() -> None:
    world = World(task_max_bytes=1000)

    @world.task
    def large() -> str:
        return "x" * 1000

    found = meta(world.run("proj.large"))
    assert (found["status"], found["result"]["exc_type"]) == ("FAILURE", "EncodeError")
    assert "store it elsewhere and return where it is" in str(found["result"]["exc_message"])
