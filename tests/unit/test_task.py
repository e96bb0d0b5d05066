"""Tasks: the ways of calling, retries, handlers, converters."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import pickle
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pydantic
import pytest

from celeriac import Celery, Task, states
from celeriac import request as requests
from celeriac.exceptions import (
    EncodeError,
    Ignore,
    MaxRetriesExceededError,
    OperationalError,
    Reject,
    Retry,
)
from celeriac.message import Message
from celeriac.request import Request
from celeriac.retrying import backoff_delay
from celeriac.sending import MANY_MESSAGES
from celeriac.wire.packing import pack
from celeriac.wire.task import TaskMessage, unpack


def sent(app: Celery, queue: str = "celery") -> list[TaskMessage]:
    return [unpack(payload) for payload in app.broker.peek(queue, 10_000)]


def arguments(message: TaskMessage) -> tuple[list[Any], dict[str, Any]]:
    return message.arguments({"json"})[:2]


# --- calling ----------------------------------------------------------------------------------------------


def test_the_three_ways_of_calling(app: Celery) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    assert add(2, 2) == 4
    by_delay = add.delay(2, y=3)
    by_options = add.apply_async((4,), {"y": 5}, queue="mail", priority=3)
    (message,) = sent(app)
    assert (message.id, arguments(message)) == (by_delay.id, ([2], {"y": 3}))
    (message,) = sent(app, "mail")
    assert (message.id, message.priority) == (by_options.id, 3)
    assert arguments(message) == ([4], {"y": 5})


def test_all_options_of_a_call_reach_the_message(app: Celery) -> None:
    @app.task
    def job() -> None: ...

    callback, errback = app.signature("ok"), app.signature("bad")
    job.apply_async(
        task_id="my-id",
        link=callback,
        link_error=[errback],
        shadow="alias",
        expires=datetime(2090, 1, 1, tzinfo=UTC),
        headers={"tenant": "x"},
        time_limit=9,
        soft_time_limit=5,
        ignore_result=True,
        root_id="r",
        parent_id="p",
        group_id="g",
        group_index=1,
        reply_to="me",
        message_id="amqp",
    )
    (message,) = sent(app)
    embed = message.arguments({"json"})[2]
    assert (message.id, message.shadow, message.expires) == ("my-id", "alias", "2090-01-01T00:00:00+00:00")
    assert (message.headers["tenant"], tuple(message.timelimit), message.ignore_result) == ("x", (9, 5), True)
    assert (message.root_id, message.parent_id, message.group, message.group_index) == ("r", "p", "g", 1)
    assert (message.reply_to, message.properties["message_id"]) == ("me", "amqp")
    assert [each["task"] for each in embed["callbacks"]] == ["ok"]
    assert [each["task"] for each in embed["errbacks"]] == ["bad"]


def test_attributes_of_the_task_are_the_defaults_of_its_calls(app: Celery) -> None:
    @app.task(
        queue="low",
        priority=6,
        serializer="pickle",
        time_limit=9,
        soft_time_limit=5,
        expires=60,
        ignore_result=True,
    )
    def job() -> None: ...

    assert job.delay().get() is None
    (message,) = sent(app, "low")
    assert (message.priority, message.content_type) == (6, "application/x-python-serialize")
    assert tuple(message.timelimit) == (9, 5)
    assert message.ignore_result
    assert message.expires is not None
    job.apply_async(queue="high", priority=0, serializer="json", ignore_result=False, expires=None)
    (message,) = sent(app, "high")
    assert (message.priority, message.content_type, message.expires) == (0, "application/json", None)
    assert not message.ignore_result


def test_a_setting_or_attribute_that_changes_counts_from_the_next_call_on(app: Celery) -> None:
    @app.task
    def job() -> None: ...

    job.delay()
    app.conf.task_serializer = "pickle"
    job.delay()
    job.serializer = "json"
    job.delay()
    job.time_limit = 4
    job.delay()
    first, second, third, fourth = sent(app)
    assert [m.content_type.rpartition("/")[2] for m in (first, second, third)] == [
        "json",
        "x-python-serialize",
        "json",
    ]
    assert tuple(fourth.timelimit) == (4, None)


def test_the_call_wins_over_the_task_and_the_task_over_its_route(app: Celery) -> None:
    @app.task(name="a", expires=60)
    def job() -> None: ...

    app.conf.task_routes = {"a": {"queue": "routed", "expires": 3600, "shadow": "alias"}}
    job.delay()
    job.apply_async(queue="said", expires=None)
    (routed,), (said,) = sent(app, "routed"), sent(app, "said")
    assert routed.shadow == "alias"
    assert datetime.fromisoformat(str(routed.expires)) < datetime.now(UTC) + timedelta(seconds=100)
    assert said.expires is None


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"z": 1}), ((1,), {"x": 1}), ((), {"y": 1})],
)
def test_wrong_arguments_are_a_type_error_at_the_caller(
    app: Celery, args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    @app.task(name="add")
    def add(x: int, y: int = 0) -> None: ...

    @app.task(name="bound", bind=True)
    def bound(self: Task[Any, Any], x: int, y: int = 0) -> None: ...

    for task in (add, bound):
        with pytest.raises(TypeError, match=rf"^{task.name}\(x, y=0\): "):
            task.apply_async(args, kwargs)
        task.delay(1)
        task.delay(1, y=2)
        task.delay(x=1)


def test_arguments_of_unusual_functions_are_checked_too(app: Celery) -> None:
    @app.task
    def odd(x: int, /, *more: int, key: int, **named: int) -> None: ...

    odd.delay(1, 2, 3, key=4, other=5)
    with pytest.raises(TypeError):
        odd.apply_async((1,), {})
    odd.typing = False
    odd.apply_async((1,), {})
    assert len(sent(app)) == 2


def test_without_strict_typing_arguments_are_the_workers_affair() -> None:
    app = Celery("proj", broker=f"memory://{uuid4().hex}", strict_typing=False)

    @app.task
    def add(x: int) -> None: ...

    add.apply_async((1, 2, 3))
    app.close()


def test_arguments_are_a_sequence_and_no_text(app: Celery) -> None:
    @app.task
    def job(x: str) -> None: ...

    with pytest.raises(TypeError, match="args must be"):
        job.apply_async("a")
    job.apply_async(x for x in "a")
    assert arguments(sent(app)[0])[0] == ["a"]


def test_an_argument_that_cannot_travel_is_named_at_the_caller(app: Celery) -> None:
    @app.task(name="job")
    def job(x: object) -> None: ...

    with pytest.raises(EncodeError, match=r"argument 1 of job.*socket|argument 1 of job.*object"):
        job.delay(object())
    assert sent(app) == []


def test_a_task_sent_by_a_task_knows_its_parent_and_root(app: Celery) -> None:
    @app.task
    def child() -> None: ...

    request = Request(id="parent", root_id="root", task="parent")
    requests.push(request)
    try:
        result = child.delay()
        child.apply_async(add_to_parent=False)
    finally:
        requests.pop()
    for message in sent(app):
        assert (message.root_id, message.parent_id) == ("root", "parent")
    assert request.children == [result]


def test_many_calls_go_in_few_exchanges(app: Celery) -> None:
    batches = []

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    publish_all = app.broker.publish_all

    def count_and_publish(given: Iterable[Sequence[Message]]) -> None:
        held = list(given)
        batches.extend(map(len, held))
        publish_all(held)

    app.broker.publish_all = count_and_publish  # type: ignore[method-assign]
    results = add.apply_many(((n, n) for n in range(MANY_MESSAGES + 3)), queue="many")
    assert batches == [MANY_MESSAGES, 3]
    messages = sent(app, "many")
    assert [message.id for message in messages] == [result.id for result in results]
    assert arguments(messages[-1])[0] == [MANY_MESSAGES + 2] * 2
    with pytest.raises(TypeError):
        add.apply_many([(1,)])


def test_many_large_calls_are_parted_by_their_bytes(app: Celery) -> None:
    batches: list[int] = []

    @app.task
    def store(data: str) -> None: ...

    app.broker.publish_all = lambda given: batches.extend(map(len, given))  # type: ignore[method-assign]
    store.apply_many(("x" * 3_000_000,) for _ in range(3))
    assert batches == [1, 1, 1]


def test_a_broker_that_is_not_there_is_told_with_its_address_and_in_time() -> None:
    app = Celery("proj", broker="redis://127.0.0.1:1/0", publish_timeout=2)

    @app.task
    def job() -> None: ...

    with pytest.raises(OperationalError, match=r"127\.0\.0\.1:1"):
        job.delay()
    app.close()


def test_a_task_pickles_by_its_name(app: Celery) -> None:
    @app.task
    def job() -> None: ...

    assert pickle.loads(pickle.dumps(job)) is job


# --- coroutines -------------------------------------------------------------------------------------------


def test_a_coroutine_sends_without_holding_its_loop(app: Celery) -> None:
    @app.task
    async def double(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    async def endpoint() -> None:
        sent_one = await double.adelay(1)
        sent_other = await double.aapply_async((2,), queue="mail")
        assert [message.id for message in sent(app)] == [sent_one.id]
        assert [message.id for message in sent(app, "mail")] == [sent_other.id]
        assert await double(21) == 42
        assert double.apply((4,)).get() == 8

    asyncio.run(endpoint())
    assert double.is_async
    assert double.apply((4,)).get() == 8


def test_a_coroutine_task_sees_its_request_and_handlers(app: Celery) -> None:
    class Base(Task[..., Any]):
        seen: list[object] = []

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            self.seen.append(retval)

    @app.task(base=Base, bind=True)
    async def who(self: Task[Any, Any]) -> str | None:
        return self.request.id

    assert who.apply(task_id="i").get() == "i"
    assert Base.seen == ["i"]


# --- this run ---------------------------------------------------------------------------------------------


def test_a_bound_task_sees_itself_and_its_request(app: Celery) -> None:
    @app.task(bind=True)
    def show(self: Task[Any, Any], x: int) -> tuple[str, Any, bool]:
        return self.name, self.request.args, self.request.called_directly

    assert show(1) == (show.name, (1,), True)
    assert show.apply((1,)).get() == (show.name, (1,), False)
    assert show.request.id is None


def test_a_task_called_inside_a_task_has_a_request_of_its_own(app: Celery) -> None:
    @app.task
    def inner() -> tuple[str | None, str | None]:
        return inner.request.id, outer.request.id

    @app.task
    def outer() -> tuple[str | None, str | None]:
        return inner()

    assert outer.apply(task_id="o").get() == (None, "o")


def test_an_overridden_call_is_honoured_and_reaches_run_once(app: Celery) -> None:
    class Counting(Task[..., Any]):
        calls = 0

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            type(self).calls += 1
            return super().__call__(*args, **kwargs)

    @app.task(base=Counting, bind=True)
    def job(self: Task[Any, Any]) -> str | None:
        return self.request.id

    @app.task
    def plain() -> None: ...

    assert job.calls_itself
    assert not plain.calls_itself
    assert job.apply(task_id="i").get() == "i"
    assert type(job).calls == 1  # type: ignore[attr-defined]


def test_update_state_is_seen_by_those_who_ask(app: Celery) -> None:
    @app.task(bind=True)
    def job(self: Task[Any, Any]) -> tuple[str, Any]:
        self.update_state(state="PROGRESS", meta={"done": 3})
        result = app.AsyncResult("i")
        return result.state, result.info

    assert job.apply(task_id="i").get() == ("PROGRESS", {"done": 3})
    job.update_state("j", "FAILURE", ValueError("no"))
    assert repr(app.AsyncResult("j").result) == "ValueError('no')"
    job.update_state("j", "PROGRESS", {"done": 4})
    assert app.AsyncResult("j").state == "FAILURE", "it has ended, whoever still says how far it is"
    job.update_state("j", "SUCCESS", "by hand")
    assert app.AsyncResult("j").result == "by hand"


# --- handlers, eager --------------------------------------------------------------------------------------


class Noting(Task[..., Any]):
    """Writes down which handler was called."""

    notes: list[tuple[Any, ...]] = []

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        self.notes.append(("before_start", task_id))

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        self.notes.append(("on_success", retval))

    def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self.notes.append(("on_retry", repr(exc)))

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self.notes.append(("on_failure", repr(exc), "Traceback" in str(einfo)))

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        self.notes.append(("after_return", status))


def test_handlers_are_called_in_their_order(app: Celery) -> None:
    @app.task(base=Noting, bind=True, max_retries=1)
    def job(self: Task[Any, Any], fails: bool) -> int:
        if fails:
            raise self.retry(exc=KeyError("k"))
        return 5

    Noting.notes.clear()
    assert job.apply((False,), task_id="i").get() == 5
    assert Noting.notes == [("before_start", "i"), ("on_success", 5), ("after_return", "SUCCESS")]
    Noting.notes.clear()
    assert job.apply((True,), task_id="i").state == "FAILURE"
    assert Noting.notes == [
        ("before_start", "i"),
        ("on_retry", "KeyError('k')"),
        ("before_start", "i"),
        ("on_failure", "KeyError('k')", True),
        ("after_return", "FAILURE"),
    ]


def test_apply_gives_a_result_or_raises(app: Celery) -> None:
    @app.task
    def divide(x: int, y: int) -> float:
        return x / y

    failed = divide.apply((1, 0))
    assert (failed.state, failed.failed()) == ("FAILURE", True)
    assert "ZeroDivisionError" in str(failed.traceback)
    with pytest.raises(ZeroDivisionError):
        failed.get()
    with pytest.raises(ZeroDivisionError):
        divide.apply((1, 0), throw=True)
    assert divide.apply((1, 2)).get() == 0.5


@pytest.mark.parametrize(("error", "state"), [(Ignore(), "IGNORED"), (Reject("no"), "REJECTED")])
def test_a_word_to_the_worker_is_no_failure(app: Celery, error: Exception, state: str) -> None:
    @app.task
    def job() -> None:
        raise error

    assert job.apply().state == state


def test_links_are_called_after_an_eager_run(app: Celery) -> None:
    heard: list[Any] = []

    @app.task
    def note(*args: Any) -> None:
        heard.append(args)

    @app.task
    def note_id(task_id: str) -> None:
        heard.append(task_id)

    @app.task
    def job(fails: bool) -> int:
        if fails:
            raise KeyError
        return 5

    job.apply((False,), link=note.s(1), link_error=note_id.s())
    job.apply((True,), task_id="i", link=note.s(1), link_error=[note_id.s(), note.s()])
    assert heard[0] == (5, 1)
    assert heard[1][0].id == "i"
    assert isinstance(heard[1][1], KeyError)
    assert heard[2] == "i"


def test_always_eager_runs_here_after_a_round_through_the_serializer(app: Celery) -> None:
    @app.task
    def kind(x: Any) -> str:
        return type(x).__name__

    app.conf.task_always_eager = True
    assert kind.delay((1, 2)).get() == "list"
    assert kind.apply_async(((1, 2),), serializer="pickle", countdown=100, queue="x").get() == "tuple"
    with pytest.raises(EncodeError):
        kind.delay(object())

    @app.task
    def fail() -> None:
        raise KeyError

    assert fail.delay().state == "FAILURE"
    app.conf.task_eager_propagates = True
    with pytest.raises(KeyError):
        fail.delay()
    app.conf.task_store_eager_result = True
    assert app.AsyncResult(kind.delay(1).id).get(timeout=1) == "int"


# --- retries ----------------------------------------------------------------------------------------------


def run_as_worker(task: Task[Any, Any], retries: int = 0, **call: Any) -> tuple[BaseException | Any, Request]:
    """Run it once as a worker would; gives the value or error, and the request."""
    message = unpack(
        pack(name=task.name, id="i", args=(1,), kwargs={}, queue="mail", retries=retries, **call)
    )
    args, kwargs, embed = message.arguments({"json"})
    request = Request.from_message(message, args, kwargs, embed)
    request.queue = "mail"
    requests.push(request)
    try:
        return task.run(*args, **kwargs), request
    except BaseException as error:
        return error, request
    finally:
        requests.pop()


def test_retry_sends_the_same_task_again_with_the_outcome(app: Celery) -> None:
    @app.task(bind=True, default_retry_delay=30)
    def job(self: Task[Any, Any], x: int) -> None:
        self.retry(exc=KeyError("k"))

    raised, request = run_as_worker(
        job,
        retries=1,
        headers={"tenant": "x"},
        priority=6,
        root_id="root",
        timelimit=(9, 5),
        callbacks=[{"task": "c"}],
        chain=[{"task": "n"}],
        ignore_result=True,
    )
    assert isinstance(raised, Retry)
    assert (repr(raised.exc), raised.when) == ("KeyError('k')", 30)
    (message,) = request.follow_ups
    assert (message.id, message.queue, message.priority) == ("i", "mail", 6)
    assert message.eta == pytest.approx(datetime.now(UTC).timestamp() + 30, abs=5)
    again = unpack(message.payload)
    args, _, embed = again.arguments({"json"})
    assert (again.retries, args, again.headers["tenant"]) == (2, [1], "x")
    assert (again.root_id, again.parent_id, again.ignore_result) == ("root", None, True)
    assert tuple(again.timelimit) == (9, 5)
    assert (embed["callbacks"][0]["task"], embed["chain"][0]["task"]) == ("c", "n")
    assert sent(app, "mail") == []


def test_retry_may_change_arguments_and_options(app: Celery) -> None:
    @app.task(bind=True)
    def job(self: Task[Any, Any], x: int, y: int = 0) -> None:
        raise self.retry((x + 1,), {"y": 7}, countdown=0, queue="other")

    _, request = run_as_worker(job)
    (message,) = request.follow_ups
    assert message.queue == "other"
    assert arguments(unpack(message.payload)) == ([2], {"y": 7})


def test_retry_ends_with_the_error_or_max_retries_exceeded(app: Celery) -> None:
    @app.task(bind=True, max_retries=2)
    def with_error(self: Task[Any, Any], x: int) -> None:
        raise self.retry(exc=KeyError("k"))

    @app.task(bind=True, max_retries=2)
    def without(self: Task[Any, Any], x: int) -> None:
        raise self.retry()

    @app.task(bind=True, max_retries=None)
    def for_ever(self: Task[Any, Any], x: int) -> None:
        raise self.retry()

    assert isinstance(run_as_worker(with_error, retries=1)[0], Retry)
    assert isinstance(run_as_worker(with_error, retries=2)[0], KeyError)
    error = run_as_worker(without, retries=2)[0]
    assert isinstance(error, MaxRetriesExceededError)
    assert (error.task_args, error.task_kwargs) == ((1,), {})
    assert f"{without.name}[i]" in str(error)
    assert isinstance(run_as_worker(for_ever, retries=999)[0], Retry)


def test_retry_of_a_plain_call_raises_what_went_wrong(app: Celery) -> None:
    @app.task(bind=True)
    def job(self: Task[Any, Any]) -> None:
        try:
            raise KeyError("k")
        except KeyError as error:
            raise self.retry(exc=error) from error

    @app.task(bind=True)
    def bare(self: Task[Any, Any]) -> None:
        self.retry()

    with pytest.raises(KeyError):
        job()
    with pytest.raises(Retry):
        bare()


def test_retry_that_cannot_be_sent_is_rejected(app: Celery) -> None:
    @app.task(bind=True)
    def job(self: Task[Any, Any], x: int) -> None:
        self.retry((object(),))

    error, request = run_as_worker(job)
    assert isinstance(error, Reject)
    assert not error.requeue
    assert request.follow_ups == []


def test_auto_retry_is_tried_exactly_as_often_as_said(app: Celery) -> None:
    tries = []

    @app.task(name="my_first.tasks", auto_retry=[ValueError, TypeError], max_retries=5)
    def job() -> None:
        tries.append(1)
        raise ValueError("still")

    result = job.apply()
    assert len(tries) == 1 + 5
    assert (result.state, repr(result.result)) == ("FAILURE", "ValueError('still')")


def test_auto_retry_lets_others_pass(app: Celery) -> None:
    tries: list[str] = []

    @app.task(autoretry_for=(Exception,), dont_autoretry_for=(KeyError,), retry_kwargs={"max_retries": 2})
    def job(error: BaseException) -> None:
        tries.append(type(error).__name__)
        raise error

    for error in (KeyError(), Ignore(), Reject("no")):
        job.apply((error,))
    assert tries == ["KeyError", "Ignore", "Reject"]
    job.apply((OSError(),))
    assert tries[3:] == ["OSError"] * 3
    with pytest.raises(OSError, match="direct"):
        job(OSError("direct"))


def test_auto_retry_of_a_coroutine(app: Celery) -> None:
    tries = []

    @app.task(autoretry_for=(ValueError,), max_retries=2)
    async def job() -> None:
        tries.append(1)
        raise ValueError

    assert job.apply().state == "FAILURE"
    assert len(tries) == 3


def test_the_limit_said_to_retry_holds_for_auto_retry_too(app: Celery) -> None:
    @app.task(bind=True, autoretry_for=(ValueError,), max_retries=9)
    def job(self: Task[Any, Any], x: int) -> None:
        self.retry(exc=ValueError(), max_retries=1)

    assert isinstance(run_as_worker(job, retries=0)[0], Retry)
    assert isinstance(run_as_worker(job, retries=1)[0], ValueError)


@pytest.mark.parametrize(
    ("factor", "retries", "expected"),
    [(True, 0, 1), (True, 3, 8), (2, 0, 2), (2, 2, 8), (0.5, 1, 2), (3, 20, 600), (1, 10_000_000, 600)],
)
def test_backoff_doubles_up_to_its_limit(factor: float, retries: int, expected: int) -> None:
    assert backoff_delay(factor, retries, 600, jitter=False) == expected
    assert all(0 <= backoff_delay(factor, retries, 600, jitter=True) <= expected for _ in range(50))


def test_backoff_decides_the_delay_of_auto_retry(app: Celery) -> None:
    @app.task(autoretry_for=(ValueError,), retry_backoff=2, retry_backoff_max=5, retry_jitter=False)
    def job(x: int) -> None:
        raise ValueError

    delays = [run_as_worker(job, retries=n)[0].when for n in range(3)]
    assert delays == [2, 4, 5]


def test_auto_retry_under_both_names_is_an_error(app: Celery) -> None:
    with pytest.raises(TypeError, match="another name"):
        app.task(auto_retry=[KeyError], autoretry_for=[KeyError])(run_as_worker)


# --- arguments as their annotations name them -------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    where: Path


class Order(msgspec.Struct):
    number: int


class Customer(pydantic.BaseModel):
    name: str


def converted(task: Task[Any, Any], *args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    task.apply_async(args, kwargs)
    received, named = arguments(sent(task.app)[-1])  # type: ignore[arg-type]
    assert task.converter is not None
    return task.converter(received, named)


def test_annotated_arguments_arrive_as_what_they_were(app: Celery) -> None:
    @app.task
    def job(
        path: Path,
        colour: Colour,
        point: Point | None,
        orders: list[Order],
        customers: dict[str, Customer],
        plain: int = 0,
        *more: Path,
        key: Path | None = None,
        **named: Colour,
    ) -> None: ...

    args = (
        Path("a"),
        Colour.RED,
        Point(1, Path("b")),
        [Order(1)],
        {"c": Customer(name="d")},
        5,
        Path("e"),
        Path("f"),
    )
    named = {"key": Path("g"), "other": Colour.RED}
    assert converted(job, *args, **named) == (list(args), named)


def test_what_is_already_right_stays(app: Celery) -> None:
    @app.task
    def job(path: Path, customer: Customer | None = None) -> None: ...

    assert job.converter is not None
    customer = Customer(name="a")
    assert job.converter([Path("a"), customer], {}) == ([Path("a"), customer], {})
    assert job.converter(["a"], {"customer": None}) == ([Path("a")], {"customer": None})


def test_a_value_that_does_not_fit_its_annotation_names_the_argument(app: Celery) -> None:
    @app.task
    def job(path: Path, order: Order) -> None: ...

    assert job.converter is not None
    with pytest.raises(TypeError, match="'order'"):
        job.converter(["a", {"number": "x"}], {})


def test_plain_annotations_cost_nothing(app: Celery) -> None:
    @app.task
    def job(a: int, b: list[str], c: Any, d, e: str | Path) -> None:  # type: ignore[no-untyped-def]
        ...

    assert job.converter is None


def test_an_annotation_that_cannot_be_resolved_costs_no_other(app: Celery) -> None:
    @app.task
    def job(a: NoSuchName, b: Path) -> None:  # type: ignore[name-defined]  # noqa: F821
        ...

    assert job.converter is not None
    assert job.converter([1, "b"], {}) == ([1, Path("b")], {})


def test_eager_runs_convert_too(app: Celery) -> None:
    @app.task
    def parent(path: Path) -> str:
        return path.parent.name

    app.conf.task_always_eager = True
    assert parent.delay(Path("a/b")).get() == "a"
    assert parent.delay(Path("a/b")).state == states.SUCCESS
