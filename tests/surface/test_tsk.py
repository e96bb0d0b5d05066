"""TSK: what tasks may say of themselves and of their calls, seen by what a worker does with it."""

from __future__ import annotations

import asyncio
import enum
import itertools
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celeriac import Celery, Task
from celeriac.exceptions import (
    Ignore,
    ImproperlyConfigured,
    MaxRetriesExceededError,
    Reject,
    Retry,
    TaskRevokedError,
)
from celeriac.stepping import Ran, Stepper
from celeriac.testing.worker import start_worker

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Colour(enum.Enum):
    RED = "red"


@pytest.fixture
def stepper(app: Celery) -> Iterator[Stepper]:
    with app.testing(now=NOON) as stepper:
        yield stepper


def seconds(ran: list[Ran]) -> list[tuple[str, float]]:
    """(state, seconds since noon) of each."""
    return [(one.state, (one.at - NOON).total_seconds()) for one in ran]


# --- TSK-1 to TSK-8: the task and its request -------------------------------------------------------------


def test_TSK_1_attributes_have_celerys_defaults_but_one(app: Celery) -> None:
    task = app.task(lambda: None)
    assert (task.max_retries, task.default_retry_delay, task.trail, task.throws) == (3, 180, True, ())
    assert (task.retry_backoff, task.retry_backoff_max, task.retry_jitter) == (False, 600, True)
    assert (task.rate_limit, task.time_limit, task.expires, task.resultrepr_maxsize) == (
        None,
        None,
        None,
        1024,
    )
    assert task.acks_late is True  # the one that differs


def test_TSK_1_settings_decide_what_the_task_leaves_open(app: Celery) -> None:
    open_one, own = app.task(name="a")(lambda: None), app.task(name="b", acks_late=True)(lambda: None)
    app.conf.update(task_acks_late=False, task_track_started=True, task_default_rate_limit="5/m")
    assert (open_one.acks_late, own.acks_late) == (False, True)
    assert (open_one.track_started, open_one.rate_limit) == (True, "5/m")


def test_TSK_1_annotations_change_tasks_by_name_and_wrap_what_they_have(
    app: Celery, stepper: Stepper
) -> None:
    class Others:
        def annotate_any(self) -> dict[str, Any]:
            return {"priority": 3}

        def annotate(self, task: Any) -> dict[str, Any] | None:
            return {"priority": 6} if task.name == "special" else None

    def louder(run: Any) -> Any:
        return lambda text: run(text) + "!"

    other = Celery("annotated", set_as_current=False)
    other.conf.task_annotations = [
        {"*": {"rate_limit": "10/s"}, "special": {"time_limit": 3, "@run": louder}},
        Others(),
    ]
    special = other.task(name="special")(lambda text: text)
    plain = other.task(name="plain")(lambda text: text)
    other.finalize()
    assert (special.rate_limit, special.time_limit, special.priority) == ("10/s", 3, 6)
    assert (plain.rate_limit, plain.time_limit, plain.priority) == ("10/s", None, 3)
    assert special.run("hello") == "hello!"


def test_TSK_5_handlers_come_in_order(app: Celery, stepper: Stepper) -> None:
    story: list[str] = []

    class Base(Task[Any, Any]):
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            story.append("before_start")

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            story.append(f"on_success {retval}")

        def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            story.append(f"on_retry {exc}")

        def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            story.append(f"on_failure {exc}")

        def after_return(
            self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
        ) -> None:
            story.append(f"after_return {status}")

    @app.task(base=Base, bind=True)
    def work(self: Any, what: str) -> str:
        if what == "fail":
            raise ValueError("bad")
        if what == "retry" and not self.request.retries:
            raise self.retry(exc=ValueError("soon"), countdown=1)
        return what

    work.delay("well")
    work.delay("fail")
    stepper.run()
    assert story == [
        "before_start",
        "on_success well",
        "after_return SUCCESS",
        "before_start",
        "on_failure bad",
        "after_return FAILURE",
    ]
    story.clear()
    work.delay("retry")
    stepper.finish()
    assert story == [
        "before_start",
        "on_retry soon",
        "before_start",
        "on_success retry",
        "after_return SUCCESS",
    ]


def test_TSK_7_a_bound_task_and_one_called_inside_have_requests_of_their_own(
    app: Celery, stepper: Stepper
) -> None:
    @app.task(bind=True)
    def inner(self: Any) -> tuple[Any, bool]:
        return self.request.id, self.request.called_directly

    @app.task(bind=True)
    def outer(self: Any) -> list[Any]:
        return [self.request.id, self.request.called_directly, *inner()]

    result = outer.delay()
    assert result.get() == [result.id, False, None, True]


def test_TSK_8_the_request_knows_its_call(app: Celery, stepper: Stepper) -> None:
    seen: dict[str, Any] = {}

    @app.task(bind=True)
    def look(self: Any, *args: Any, **kwargs: Any) -> None:
        request = self.request
        for name in (
            "id root_id parent_id task args kwargs retries expires eta group chord chain callbacks errbacks"
            " correlation_id reply_to hostname origin delivery_info utc called_directly is_eager loglevel"
            " timelimit time_limit soft_time_limit replaced_task_nesting shadow stamped_headers stamps"
            " argsrepr kwargsrepr lang properties headers ignore_result children logfile"
        ).split():
            seen[name] = getattr(request, name)
        seen["get"] = request.get("nothing", "default")

    result = look.apply_async(
        (1,), {"b": 2}, queue="q", priority=3, time_limit=9, soft_time_limit=8, shadow="s"
    )
    stepper.run()
    assert (seen["id"], seen["root_id"], seen["parent_id"], seen["correlation_id"]) == (
        result.id,
        result.id,
        None,
        result.id,
    )
    assert (seen["args"], seen["kwargs"], seen["argsrepr"]) == ([1], {"b": 2}, "(1,)")
    assert list(seen["timelimit"]) == [9, 8]
    assert seen["lang"] == "py"
    assert (seen["time_limit"], seen["soft_time_limit"], seen["shadow"]) == (9, 8, "s")
    assert seen["delivery_info"] == {
        "exchange": "",
        "routing_key": "q",
        "priority": 3,
        "redelivered": False,
    }
    assert (seen["called_directly"], seen["is_eager"], seen["retries"], seen["get"]) == (
        False,
        False,
        0,
        "default",
    )


def test_TSK_9_headers_are_fields_of_the_request_and_outlive_a_retry(app: Celery, stepper: Stepper) -> None:
    @app.task(bind=True)
    def tenant(self: Any) -> str:
        if not self.request.retries:
            raise self.retry(countdown=1)
        return f"{self.request.tenant} {self.request.headers['tenant']}"

    assert tenant.apply_async(headers={"tenant": "acme"}).get(timeout=5) == "acme acme"


# --- TSK-11 to TSK-14: calls, expiry, retries -------------------------------------------------------------


def test_TSK_11_wrong_calls_fail_at_the_caller(app: Celery) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    with pytest.raises(TypeError, match="y"):
        add.delay(1)
    with pytest.raises(TypeError, match="z"):
        add.apply_async((1, 2), {"z": 3})
    with pytest.raises(ValueError, match="less than or equal"):
        add.apply_async((1, 2), soft_time_limit=5, time_limit=4)
    with pytest.raises(ValueError, match="must not be empty"):
        app.AsyncResult("")


@pytest.mark.parametrize("expires", [30, NOON + timedelta(seconds=30), datetime(2026, 1, 1, 12, 0, 30)])
def test_TSK_12_what_expired_is_revoked(app: Celery, stepper: Stepper, expires: Any) -> None:
    task = app.task(lambda: "ran")
    in_time, late = task.apply_async(expires=expires), task.apply_async(expires=expires, countdown=31)
    assert in_time.get() == "ran"
    with pytest.raises(TaskRevokedError, match="expired"):
        late.get(timeout=60)


def test_TSK_13_a_retry_waits_default_retry_delay_and_keeps_the_call(app: Celery, stepper: Stepper) -> None:
    seen: list[Any] = []

    @app.task(bind=True, max_retries=2)
    def again(self: Any, x: int) -> None:
        seen.append((self.request.id, self.request.delivery_info["priority"], x, self.request.retries))
        raise self.retry(exc=ValueError("gave up"))

    result = again.apply_async((7,), priority=6)
    assert seconds(stepper.finish()) == [("RETRY", 0), ("RETRY", 180), ("FAILURE", 360)]
    assert seen == [(result.id, 6, 7, 0), (result.id, 6, 7, 1), (result.id, 6, 7, 2)]
    with pytest.raises(ValueError, match="gave up"):
        result.get()


def test_TSK_13_limits_of_retries(app: Celery, stepper: Stepper) -> None:
    @app.task(bind=True, max_retries=0)
    def never(self: Any) -> None:
        self.retry()

    @app.task(bind=True, max_retries=None, default_retry_delay=1)
    def always(self: Any) -> int:
        if self.request.retries < 20:
            self.retry()
        return int(self.request.retries)

    with pytest.raises(MaxRetriesExceededError, match="never"):
        never.delay().get()
    assert always.delay().get() == 20


def test_TSK_13_arguments_may_change_and_a_moment_may_be_named(app: Celery, stepper: Stepper) -> None:
    @app.task(bind=True)
    def step(self: Any, x: int, y: int = 0) -> list[int]:
        if x < 3:
            raise self.retry(args=(x + 1,), eta=NOON + timedelta(minutes=x + 1))
        return [x, y]

    step.delay(1, y=5)
    ran = stepper.finish()
    assert seconds(ran) == [("RETRY", 0), ("RETRY", 120), ("SUCCESS", 180)]
    assert ran[-1].value == [3, 5]


def test_TSK_13_a_plain_call_gets_the_error_itself(app: Celery) -> None:
    @app.task(bind=True)
    def work(self: Any) -> None:
        self.retry(exc=LookupError("here"))

    with pytest.raises(LookupError, match="here"):
        work()


def test_TSK_14_backoff_doubles_to_the_second(app: Celery, stepper: Stepper) -> None:
    @app.task(
        autoretry_for=(ConnectionError,),
        retry_backoff=3,
        retry_backoff_max=20,
        retry_jitter=False,
        max_retries=5,
    )
    def fetch() -> None:
        raise ConnectionError("away")

    fetch.delay()
    moments = [moment for _, moment in seconds(stepper.finish())]
    assert [b - a for a, b in itertools.pairwise(moments)] == [3, 6, 12, 20, 20]


def test_TSK_14_others_pass_and_what_the_task_says_itself_holds(app: Celery, stepper: Stepper) -> None:
    @app.task(
        bind=True, autoretry_for=(Exception,), dont_autoretry_for=(KeyError,), retry_kwargs={"countdown": 1}
    )
    def work(self: Any, what: str) -> None:
        if what == "key":
            raise KeyError("not again")
        if what == "ignore":
            raise Ignore
        self.retry(countdown=5, max_retries=1)

    for what in ("key", "ignore"):
        work.delay(what)
    assert [ran.state for ran in stepper.finish()] == ["FAILURE", "IGNORED"]
    work.delay("itself")
    assert [ran.state for ran in stepper.finish()] == ["RETRY", "FAILURE"]


# --- TSK-15 to TSK-18: endings ----------------------------------------------------------------------------


def test_TSK_15_words_of_control_are_no_failures(app: Celery, stepper: Stepper) -> None:
    @app.task
    def say(word: str) -> None:
        raise {"ignore": Ignore(), "reject": Reject("no", requeue=False), "retry": Retry("later")}[word]

    for word in ("ignore", "reject", "retry"):
        say.delay(word)
    assert [ran.state for ran in stepper.run()] == ["IGNORED", "REJECTED", "RETRY"]


def test_TSK_15_expected_errors_are_told_without_a_traceback(
    app: Celery, stepper: Stepper, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(throws=(KeyError,))
    def find(kind: str) -> None:
        raise KeyError("absent") if kind == "expected" else ValueError("bad")

    with caplog.at_level(logging.INFO):
        expected, other = find.delay("expected"), find.delay("other")
        stepper.run()
    lines = {record.getMessage(): record for record in caplog.records if "raised" in record.getMessage()}
    (quiet,) = (record for line, record in lines.items() if expected.id in line)
    (loud,) = (record for line, record in lines.items() if other.id in line)
    assert (quiet.levelno, quiet.exc_info, "raised expected" in quiet.getMessage()) == (
        logging.INFO,
        None,
        True,
    )
    assert loud.levelno == logging.ERROR
    assert loud.exc_info is not None
    with pytest.raises(KeyError):
        expected.get()


def test_TSK_18_links_get_the_value_and_errbacks_of_both_kinds_are_called(
    app: Celery, stepper: Stepper
) -> None:
    told: list[Any] = []

    @app.task
    def work(what: str) -> str:
        if what == "fail":
            raise ValueError("bad")
        return what

    @app.task
    def by_id(task_id: str) -> None:
        told.append(("by id", task_id))

    @app.task
    def by_error(request: Any, exc: BaseException, traceback: Any) -> None:
        told.append(("by error", request.id, str(exc), "ValueError" in str(traceback)))

    @app.task
    def note(value: str) -> None:
        told.append(("value", value))

    work.apply_async(("well",), link=note.s())
    failed = work.apply_async(("fail",), link_error=[by_id.s(), by_error.s()])
    stepper.run()
    assert sorted(told) == [("by error", failed.id, "bad", True), ("by id", failed.id), ("value", "well")]


def test_TSK_19_a_class_of_tasks_hears_of_replacements(app: Celery, stepper: Stepper) -> None:
    heard: list[str] = []

    class Noting(Task[Any, Any]):
        def on_replace(self, sig: Any) -> Any:
            heard.append(sig.task)
            return super().on_replace(sig)

    @app.task(name="other")
    def other() -> int:
        return 7

    @app.task(bind=True, base=Noting)
    def choose(self: Any) -> Any:
        return self.replace(other.s())

    assert choose.delay().get() == 7
    assert heard == ["other"]


@pytest.mark.parametrize("says", ["raise", "return"])
def test_TSK_19_a_task_that_was_not_sent_gives_the_value_of_its_replacement(app: Celery, says: str) -> None:
    told: list[Any] = []

    @app.task
    def double(x: int) -> int:
        return 100 // x

    @app.task
    def note(value: Any) -> None:
        told.append(value)

    @app.task
    def regret(request: Any, error: BaseException, _traceback: Any) -> None:
        told.append(type(error))

    @app.task(bind=True)
    def choose(self: Any, x: int) -> Any:
        if says == "raise":
            raise self.replace(double.s(x))
        return self.replace(double.s(x))

    @app.task(bind=True)
    async def choose_async(self: Any, x: int) -> Any:
        raise self.replace(double.s(x))

    assert choose.apply((5,), link=note.s(), link_error=regret.s()).get() == 20
    assert choose_async.apply((10,), link=note.s()).get() == 10
    with pytest.raises(ZeroDivisionError):
        choose.apply((0,), link=note.s(), link_error=regret.s()).get()
    assert told == [20, 10, ZeroDivisionError]
    with start_worker(app):
        assert choose(4) == 25
        assert asyncio.run(choose_async(2)) == 50


def test_TSK_19_another_task_does_the_work_under_the_same_id(app: Celery, stepper: Stepper) -> None:
    @app.task
    def double(x: int) -> int:
        return 2 * x

    @app.task
    def note(x: int) -> int:
        return x + 1000

    @app.task(bind=True)
    def choose(self: Any, x: int) -> Any:
        return self.replace(double.s(x))

    chain = (choose.s(4) | note.s()).delay()
    assert chain.get() == 1008
    assert chain.parent.get() == 8
    assert [(ran.name.rpartition(".")[2], ran.state) for ran in stepper.ran] == [
        ("choose", "IGNORED"),
        ("double", "SUCCESS"),
        ("note", "SUCCESS"),
    ]
    assert stepper.ran[0].id == stepper.ran[1].id
    assert choose.apply((5,)).get() == 10


def test_TSK_20_a_task_tells_how_far_it_is(app: Celery, stepper: Stepper) -> None:
    seen: list[Any] = []

    @app.task(bind=True)
    def load(self: Any) -> str:
        self.update_state(state="HALFWAY", meta={"percent": 50})
        result = app.AsyncResult(self.request.id)
        seen.append((result.state, result.info, result.ready()))
        return "all"

    result = load.delay()
    assert result.get() == "all"
    assert seen == [("HALFWAY", {"percent": 50}, False)]


# --- TSK-21: rate limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "gap"),
    [("2/s", 0.5), (2, 0.5), ("120/m", 0.5), ("60/h", 60), (0.1, 10), ("10", 0.1)],
)
def test_TSK_21_a_limited_task_runs_as_often_as_said(
    app: Celery, stepper: Stepper, rate: Any, gap: float
) -> None:
    task = app.task(rate_limit=rate)(lambda: None)
    for _ in range(5):
        task.delay()
    moments = [moment for _, moment in seconds(stepper.finish())]
    assert moments == pytest.approx([n * gap for n in range(5)], abs=1e-5)


@pytest.mark.parametrize("rate", [None, 0, "0/s", ""])
def test_TSK_21_no_rate_is_no_limit(app: Celery, stepper: Stepper, rate: Any) -> None:
    task = app.task(rate_limit=rate)(lambda: None)
    task.apply_many([()] * 5)
    assert len(stepper.run()) == 5


def test_TSK_21_what_stands_behind_it_goes_on(app: Celery, stepper: Stepper) -> None:
    slow = app.task(name="slow", rate_limit="1/m")(lambda: None)
    free = app.task(name="free")(lambda: None)
    for _ in range(3):
        slow.delay()
    free.delay()
    assert [ran.name for ran in stepper.run()] == ["slow", "free"]
    assert [call.eta for call in stepper.waiting()] == [
        NOON + timedelta(minutes=1),
        NOON + timedelta(minutes=2),
    ]


def test_TSK_21_a_time_without_calls_is_not_made_up_for(app: Celery, stepper: Stepper) -> None:
    task = app.task(rate_limit="6/m")(lambda: None)
    task.delay()
    stepper.advance(3600)
    task.apply_many([()] * 3)
    assert [moment - 3600 for _, moment in seconds(stepper.finish())] == pytest.approx([0, 10, 20], abs=0.3)


def test_TSK_21_the_setting_and_the_switch(app: Celery) -> None:
    app.conf.task_default_rate_limit = "1/m"
    task = app.task(lambda: None)
    with app.testing() as stepper:
        task.apply_many([()] * 2)
        assert len(stepper.run()) == 1
    app.conf.worker_disable_rate_limits = True
    with app.testing() as stepper:
        task.apply_many([()] * 2)
        assert len(stepper.run()) == 2


@pytest.mark.parametrize("rate", ["often", "10/d", "-1/s", object(), "1/", "nan", 1e-12, 10**400])
def test_TSK_21_a_rate_that_is_none_is_told_where_it_is_declared(app: Celery, rate: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"rate_limit|below zero"):
        app.task(rate_limit=rate)(lambda: None)


# --- TSK-22 and the rest ----------------------------------------------------------------------------------


def test_TSK_22_a_task_may_inherit_the_priority_of_the_one_that_sends_it(
    app: Celery, stepper: Stepper
) -> None:
    child = app.task(name="child")(lambda: None)
    own = app.task(name="own", priority=9)(lambda: None)

    @app.task(name="parent")
    def parent() -> None:
        child.delay()
        own.delay()
        child.apply_async(priority=0)

    parent.apply_async(priority=3)
    stepper.step()
    assert sorted((call.name, call.priority) for call in stepper.waiting()) == [
        ("child", 0),
        ("child", 0),
        ("own", 9),
    ]
    stepper.clear()
    app.conf.task_inherit_parent_priority = True
    parent.apply_async(priority=3)
    stepper.step()
    assert sorted((call.name, call.priority) for call in stepper.waiting()) == [
        ("child", 0),
        ("child", 3),
        ("own", 9),
    ]


def test_TSK_22_results_may_be_ignored_for_one_call(app: Celery, stepper: Stepper) -> None:
    task = app.task(lambda: 5)
    ignored, kept = task.apply_async(ignore_result=True), task.delay()
    stepper.run()
    assert (ignored.get(), app.AsyncResult(ignored.id).state, kept.get()) == (None, "PENDING", 5)


def test_TSK_22_a_task_knows_the_results_of_its_calls(app: Celery, stepper: Stepper) -> None:
    leaf = app.task(name="leaf")(lambda: None)

    @app.task
    def root() -> None:
        leaf.delay()
        leaf.apply_async(add_to_parent=False)

    result = root.delay()
    result.get()
    assert result.children is not None
    assert len(result.children) == 1


def test_TSK_23_eager_mode_raises_or_returns(app: Celery) -> None:
    @app.task
    def fail() -> None:
        raise ValueError("bad")

    assert fail.apply().state == "FAILURE"
    with pytest.raises(ValueError, match="bad"):
        fail.apply(throw=True)
    app.conf.update(task_always_eager=True, task_eager_propagates=True)
    with pytest.raises(ValueError, match="bad"):
        fail.delay()


def test_TSK_17_annotated_arguments_are_what_they_say(app: Celery, stepper: Stepper) -> None:
    @app.task
    def paint(colour: Colour) -> str:
        return type(colour).__name__

    assert paint.delay(Colour.RED).get() == "Colour"


def test_TSK_13_coroutines_retry_as_functions_do(app: Celery) -> None:
    @app.task(bind=True, autoretry_for=(ConnectionError,), retry_backoff=2, retry_jitter=False)
    async def fetch(self: Any) -> int:
        await asyncio.sleep(0)
        if self.request.retries < 2:
            raise ConnectionError("away")
        return int(self.request.retries)

    async def story() -> None:
        async with app.testing(now=NOON) as stepper:
            await fetch.adelay()
            assert seconds(await stepper.afinish()) == [("RETRY", 0), ("RETRY", 2), ("SUCCESS", 6)]

    asyncio.run(story())


# --- APP-15, APP-18, RC-1: what the app says --------------------------------------------------------------


def test_APP_15_periodic_tasks_are_noted(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    task = app.task(name="clean")(lambda place: None)
    assert app.add_periodic_task(30.0, task.s("tmp"), expires=10) == "clean('tmp')"
    app.config_from_object({"beat_schedule": {"theirs": {"task": "x", "schedule": 1}}})
    app.finalize()
    assert app.add_periodic_task(60.0, task.s("var"), name="named") == "named"
    assert app.add_periodic_task(90.0, task, args=("a",), kwargs={}) == "clean('a')"
    plan = app.conf.beat_schedule
    assert set(plan) == {"theirs", "clean('tmp')", "named", "clean('a')"}
    assert plan["clean('tmp')"] == {
        "schedule": 30.0,
        "task": "clean",
        "args": ("tmp",),
        "kwargs": {},
        "options": {"expires": 10},
    }
    app.add_periodic_task(5, task.s("other"), name="named")
    assert "'named'" in caplog.text
    assert app.conf.beat_schedule["named"]["schedule"] == 5


def test_APP_18_bugreport_tells_all_but_secrets(app: Celery) -> None:
    app.conf.s3_secret_access_key = "geheim"
    text = app.bugreport()
    assert "celeriac:" in text
    assert "geheim" not in text


def test_RC_1_revoke_by_the_app(app: Celery, stepper: Stepper) -> None:
    task = app.task(lambda: None)
    results = [task.delay() for _ in range(3)]
    app.control.revoke(results[0].id)
    app.control.revoke([results[1], results[2].id])
    assert app.control.revoke(results[0].id, terminate=True, reply=True) == []
    assert [ran.state for ran in stepper.run()] == ["REVOKED"] * 3
    task.delay()
    assert app.control.purge() == 1
