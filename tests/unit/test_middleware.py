"""Middleware: what calls pass when they are sent and when they run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery, chain, group
from celeriac.exceptions import ImproperlyConfigured, OperationalError, Reject
from celeriac.middleware import Call, Middleware, Run
from celeriac.stepping import Stepper

where: ContextVar[str] = ContextVar("where", default="nowhere")


@pytest.fixture
def stepper(app: Celery) -> Iterator[Stepper]:
    with app.testing() as stepper:
        yield stepper


class Telling(Middleware):
    """Notes all that passes."""

    def __init__(self, name: str = "", story: list[str] | None = None) -> None:
        self.name = name
        self.story: list[str] = [] if story is None else story

    def around_send(self, call: Call) -> Iterator[None]:
        self.story.append(f"{self.name} send {call.name}".strip())
        yield
        self.story.append(f"{self.name} sent".strip())

    def around_run(self, run: Run) -> Iterator[None]:
        self.story.append(f"{self.name} run".strip())
        try:
            yield
        except Exception as error:
            self.story.append(f"{self.name} {type(error).__name__}".strip())
            raise
        self.story.append(f"{self.name} ran {run.value}".strip())


def test_without_middleware_nothing_is_asked(app: Celery) -> None:
    assert app.passage is None


def test_the_first_one_added_is_the_outermost(app: Celery, stepper: Stepper) -> None:
    story: list[str] = []
    app.add_middleware(Telling("a", story))
    app.add_middleware(Telling("b", story))
    app.task(name="add")(lambda x, y: x + y).delay(1, 2)
    assert story == ["a send add", "b send add", "b sent", "a sent"]
    story.clear()
    stepper.run()
    assert story == ["a run", "b run", "b ran 3", "a ran 3"]


def test_the_setting_names_them_too_and_what_is_added_stands_inside(app: Celery) -> None:
    path = f"{__name__}:Telling"
    app.add_middleware(Telling("added"))
    app.conf.middleware = [Telling("instance"), Telling, path if __name__ != "__main__" else Telling]
    assert app.passage is not None
    assert [one.name for one in app.passage.installed] == ["instance", "", "", "added"]  # type: ignore[attr-defined]


def test_every_way_of_sending_passes(app: Celery, stepper: Stepper) -> None:
    telling = Telling()
    app.add_middleware(telling)

    @app.task(name="work", bind=True)
    def work(self: Any, number: int = 0) -> int:
        if not self.request.retries and number == 7:
            raise self.retry(countdown=1)
        return number

    def sent_by(act: Callable[[], Any]) -> int:
        telling.story.clear()
        act()
        stepper.finish()
        return telling.story.count("send work")

    assert sent_by(lambda: work.delay(1)) == 1
    assert sent_by(lambda: app.send_task("work", (1,))) == 1
    assert sent_by(lambda: work.apply_many((n,) for n in range(3))) == 3
    assert sent_by(lambda: group(work.s(1), work.s(2))()) == 2
    assert sent_by(chain(work.s(1), work.s()).apply_async) == 2
    assert sent_by(lambda: work.apply_async((1,), link=work.s())) == 2
    assert sent_by(lambda: work.delay(7)) == 2  # and its retry
    assert sent_by(lambda: asyncio.run(work.adelay(1))) == 1


def test_what_a_hook_changes_is_what_is_sent(app: Celery, stepper: Stepper) -> None:
    class Tenant(Middleware):
        def around_send(self, call: Call) -> Iterator[None]:
            call.headers["tenant"] = "x"
            call.args = (*call.args, "more")
            call.options["queue"] = "tenants"
            yield
            assert call.message is not None
            assert call.message.id == call.id

    app.add_middleware(Tenant())

    @app.task(bind=True)
    def work(self: Any, *words: str) -> tuple[Any, ...]:
        return (*words, self.request.tenant)

    headers = {"mine": 1}
    result = work.apply_async(("one",), headers=headers)
    (ran,) = stepper.run()
    assert (ran.id, ran.queue, ran.value) == (result.id, "tenants", ("one", "more", "x"))
    assert headers == {"mine": 1}  # the caller's own dict is left alone


def test_a_hook_refuses_a_call_by_an_error(app: Celery, stepper: Stepper) -> None:
    class Refusing(Middleware):
        def around_send(self, call: Call) -> Iterator[None]:
            if call.kwargs.get("bad"):
                raise PermissionError("not today")
            yield

    app.add_middleware(Refusing())
    work = app.task(name="work")(lambda bad=False: None)
    with pytest.raises(PermissionError, match="not today"):
        work.delay(bad=True)
    work.delay()
    assert len(stepper.run()) == 1


def test_a_publish_that_fails_is_raised_at_the_yield() -> None:
    errors: list[str] = []

    class Watching(Middleware):
        def around_send(self, call: Call) -> Iterator[None]:
            try:
                yield
            except Exception as error:
                errors.append(type(error).__name__)
                raise

    with Celery("proj", broker="redis://127.0.0.1:1/0", middleware=[Watching], publish_timeout=0.2) as app:
        work = app.task(name="work")(lambda: None)
        with pytest.raises(OperationalError):
            work.delay()
    assert errors == ["OperationalError"]


def test_a_hook_answers_in_the_place_of_the_task(app: Celery, stepper: Stepper) -> None:
    class Cached(Middleware):
        def around_run(self, run: Run) -> Iterator[None]:
            if run.args == (2,):
                run.value = "cached"
                return
            yield
            run.value = f"fresh {run.value}"

    app.add_middleware(Telling())
    app.add_middleware(Cached())
    ran: list[int] = []
    work = app.task(name="work")(lambda n: ran.append(n) or n)
    first, second = work.delay(1), work.delay(2)
    stepper.run()
    assert (first.get(), second.get(), ran) == ("fresh 1", "cached", [1])


def test_errors_pass_from_the_inside_out_and_may_be_caught_or_replaced(app: Celery, stepper: Stepper) -> None:
    class Softening(Middleware):
        def around_run(self, run: Run) -> Iterator[None]:
            try:
                yield
            except KeyError as error:
                run.value = f"no {error}"
            except ValueError as error:
                raise Reject(str(error), requeue=False) from error

    telling = Telling()
    app.add_middleware(telling)
    app.add_middleware(Softening())

    @app.task
    def work(what: str) -> None:
        raise {"key": KeyError, "value": ValueError, "other": OSError}[what](what)

    for what in ("key", "value", "other"):
        work.delay(what)
    assert [(one.state, str(one.value)) for one in stepper.run()] == [
        ("SUCCESS", "no 'key'"),
        ("REJECTED", "reject requeue=False: value"),
        ("FAILURE", "other"),
    ]
    assert telling.story[-4:] == ["run", "Reject", "run", "OSError"]


def test_one_plain_hook_serves_coroutine_tasks_too(app: Celery, stepper: Stepper) -> None:
    class Here(Middleware):
        def around_run(self, run: Run) -> Iterator[None]:
            token = where.set("here")
            yield
            where.reset(token)

    app.add_middleware(Here())

    @app.task
    async def work() -> str:
        await asyncio.sleep(0)
        return where.get()

    result = work.delay()
    stepper.run()
    assert result.get() == "here"
    assert where.get() == "nowhere"


@pytest.mark.parametrize("how", ["worker", "eager"])
def test_a_hook_that_awaits_serves_tasks_of_both_kinds(app: Celery, stepper: Stepper, how: str) -> None:
    story: list[str] = []

    class Waiting(Middleware):
        async def around_run(self, run: Run) -> AsyncIterator[None]:
            await asyncio.sleep(0)
            story.append("before")
            try:
                yield
            except ValueError:
                await asyncio.sleep(0)
                run.value = "caught"
            story.append("after")

    telling = Telling(story=story)
    app.add_middleware(telling)
    app.add_middleware(Waiting())

    async def later(fail: bool = False) -> str:
        await asyncio.sleep(0)
        if fail:
            raise ValueError
        return "later"

    def now(fail: bool = False) -> str:
        if fail:
            raise ValueError
        return "now"

    for function, value in ((later, "later"), (now, "now")):
        task = app.task(name=function.__name__)(function)
        for fail, expected in ((False, value), (True, "caught")):
            story.clear()
            if how == "eager":
                result: Any = task.apply(kwargs={"fail": fail})
            else:
                result = task.delay(fail=fail)
                stepper.run()
            assert result.get() == expected
            assert [word for word in story if "sen" not in word] == [
                "run",
                "before",
                "after",
                f"ran {expected}",
            ]


def test_a_direct_call_is_a_plain_function(app: Celery) -> None:
    telling = Telling()
    app.add_middleware(telling)
    assert app.task(name="add")(lambda x: x)(1) == 1
    assert telling.story == []


class _Twice(Middleware):
    def around_run(self, run: Run) -> Iterator[None]:
        yield
        yield


class _NoYield(Middleware):
    def around_send(self, call: Call) -> Iterator[None]:
        return
        yield


def test_hooks_that_cannot_work_say_so(app: Celery, stepper: Stepper) -> None:
    class NoGenerator(Middleware):
        def around_run(self, run: Run) -> Any:
            return None

    for entry, word in (
        (NoGenerator, "must be a generator"),
        (int, "is no celeriac.middleware.Middleware"),
        ("proj.nowhere:Thing", "cannot be imported"),
    ):
        other = Celery("other", broker="memory://", middleware=[entry], set_as_current=False)
        with pytest.raises(ImproperlyConfigured, match=word):
            other.send_task("work")
    other = Celery("other", broker="memory://", middleware=[_NoYield], set_as_current=False)
    with pytest.raises(RuntimeError, match="without a yield"):
        other.send_task("work")
    app.add_middleware(_Twice())
    app.task(name="work")(lambda: None).delay()
    (ran,) = stepper.run()
    assert "yields once" in str(ran.value)


def test_EVT_2_who_sends_tells_of_it_if_the_setting_says_so(app: Celery) -> None:
    app.send_task("quiet")
    app.conf.task_send_sent_event = True
    heard: list[dict[str, Any]] = []
    with app.events.Receiver(handlers={"task-sent": heard.append}) as receiver:
        result = app.send_task("work", (1,), {"a": 2}, queue="mail", priority=3)
        receiver.capture(limit=1, timeout=10, wakeup=False)
    (event,) = heard
    told = {name: event[name] for name in ("uuid", "name", "queue", "routing_key", "retries", "root_id")}
    assert told == {
        "uuid": result.id,
        "name": "work",
        "queue": "mail",
        "routing_key": "mail",
        "retries": 0,
        "root_id": result.id,
    }
    assert (event["args"], event["kwargs"]) == ("(1,)", "{'a': 2}")
    app.conf.task_send_sent_event = False
    assert app.passage is None


def test_the_example_of_the_document_works(app: Celery, stepper: Stepper) -> None:
    document = Path(__file__).parents[2] / "docs" / "middleware.md"
    (code,) = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    tenant: ContextVar[str] = ContextVar("tenant")
    exec(code, {"app": app, "tenant": tenant})
    work = app.task(name="work")(tenant.get)
    tenant.set("here")
    work.delay()
    tenant.set("there")
    assert [one.value for one in stepper.run()] == ["here"]
    assert tenant.get() == "there"
