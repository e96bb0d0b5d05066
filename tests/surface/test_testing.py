"""TST-4: `app.testing()` runs what was sent, step by step, by a clock that only the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celeriac import Celery, shared_task, signals
from celeriac.exceptions import ImproperlyConfigured, TimeoutError
from celeriac.result import allow_join_result
from celeriac.stepping import Stepper

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def app() -> Celery:
    """An app of a production that is not to be reached."""
    url = "redis://127.0.0.1:1/0"
    app = Celery("proj", broker=url, backend=url)

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="twice", bind=True)
    def twice(self: Any, x: int) -> str:
        return str(app.tasks["add"].delay(x, x).id)

    @app.task(name="fail")
    def fail() -> None:
        raise LookupError("no such thing")

    @app.task(name="stubborn", bind=True, max_retries=3, default_retry_delay=60)
    def stubborn(self: Any, until: int) -> int:
        if self.request.retries < until:
            raise self.retry(exc=ValueError("not yet"))
        return int(self.request.retries)

    @app.task(name="nap")
    async def nap(loops: list[str]) -> str:
        await asyncio.sleep(0)
        return str(id(asyncio.get_running_loop()))

    return app


@pytest.fixture
def stepper(app: Celery) -> Iterator[Stepper]:
    with app.testing(now=NOON) as stepper:
        yield stepper


def test_TST_4_what_is_sent_waits_until_the_test_says_so(app: Celery, stepper: Stepper) -> None:
    result = app.tasks["add"].delay(1, 2)
    (call,) = stepper.waiting()
    assert (call.name, call.args, call.kwargs, call.queue, call.eta) == ("add", [1, 2], {}, "celery", None)
    assert stepper.ran == []
    (ran,) = stepper.run()
    assert (ran.id, ran.state, ran.value, ran.succeeded, ran.at) == (result.id, "SUCCESS", 3, True, NOON)
    assert stepper.waiting() == []
    assert result.status == "SUCCESS"


def test_TST_4_run_goes_on_with_what_tasks_send(app: Celery, stepper: Stepper) -> None:
    app.tasks["twice"].delay(4)
    assert [(ran.name, ran.args) for ran in stepper.run()] == [("twice", [4]), ("add", [4, 4])]


def test_TST_4_a_step_is_one_task(app: Celery, stepper: Stepper) -> None:
    app.tasks["twice"].delay(4)
    first, second, third = stepper.step(), stepper.step(), stepper.step()
    assert first is not None
    assert second is not None
    assert (first.name, second.name, third) == ("twice", "add", None)


def test_TST_4_a_countdown_passes_without_sleeping(app: Celery, stepper: Stepper) -> None:
    app.tasks["add"].apply_async((1, 2), countdown=3600)
    assert stepper.waiting()[0].eta == NOON + timedelta(hours=1)
    assert stepper.run() == []
    assert stepper.advance(3599) == []
    (ran,) = stepper.advance(timedelta(seconds=2))
    assert ran.at == NOON + timedelta(hours=1)
    assert stepper.now == NOON + timedelta(seconds=3601)


def test_TST_4_an_eta_falls_due_at_its_moment_and_in_order(app: Celery, stepper: Stepper) -> None:
    add = app.tasks["add"]
    add.apply_async((2, 2), eta=NOON + timedelta(days=2))
    add.apply_async((1, 1), eta=NOON + timedelta(days=1))
    assert [(ran.value, ran.at - NOON) for ran in stepper.finish()] == [
        (2, timedelta(days=1)),
        (4, timedelta(days=2)),
    ]


def test_TST_4_retries_come_at_their_moments(app: Celery, stepper: Stepper) -> None:
    result = app.tasks["stubborn"].delay(2)
    ran = stepper.finish()
    assert [(one.state, one.retries, (one.at - NOON).total_seconds()) for one in ran] == [
        ("RETRY", 0, 0),
        ("RETRY", 1, 60),
        ("SUCCESS", 2, 120),
    ]
    assert result.get() == 2


def test_TST_4_what_expired_does_not_run(app: Celery, stepper: Stepper) -> None:
    result = app.tasks["add"].apply_async((1, 2), countdown=60, expires=30)
    (ran,) = stepper.finish()
    assert (ran.state, ran.value) == ("REVOKED", "expired")
    assert result.status == "REVOKED"


def test_TST_4_a_revoked_task_does_not_run(app: Celery, stepper: Stepper) -> None:
    app.tasks["add"].apply_async((1, 2), countdown=60).revoke()
    assert [ran.state for ran in stepper.finish()] == ["REVOKED"]


def test_TST_4_a_failure_is_seen_or_raised(app: Celery, stepper: Stepper) -> None:
    result = app.tasks["fail"].delay()
    (ran,) = stepper.run()
    assert (ran.state, repr(ran.value)) == ("FAILURE", "LookupError('no such thing')")
    with pytest.raises(LookupError):
        result.get()
    with app.testing(throw=True) as strict:
        app.tasks["fail"].delay()
        with pytest.raises(LookupError):
            strict.run()


def test_TST_4_get_runs_what_brings_the_result(app: Celery, stepper: Stepper) -> None:
    add = app.tasks["add"]
    assert add.delay(1, 2).get() == 3
    assert (add.s(1, 2) | add.s(3)).delay().get(timeout=5) == 6
    with pytest.raises(LookupError):
        (app.tasks["fail"].s() | add.si(1, 1)).delay().get()
    assert add.apply_async((1, 2), countdown=9).get(timeout=10) == 3
    assert stepper.now == NOON + timedelta(seconds=9)


def test_TST_4_get_never_waits_for_nothing(app: Celery, stepper: Stepper) -> None:
    late = app.tasks["add"].apply_async((1, 2), countdown=60)
    with pytest.raises(TimeoutError, match=r"within 10 s .* add waits until 2026-01-01 12:01:00"):
        late.get(timeout=10)
    with pytest.raises(TimeoutError, match="nothing waits that could bring it"):
        app.AsyncResult("never-sent").get()


def test_TST_4_get_inside_a_task_means_what_it_means_in_a_worker(app: Celery, stepper: Stepper) -> None:
    @app.task(name="waits")
    def waits(allowed: bool) -> int:
        if not allowed:
            return int(app.tasks["add"].delay(1, 2).get())
        with allow_join_result():
            return int(app.tasks["add"].delay(1, 2).get())

    assert waits.delay(True).get() == 3
    with pytest.raises(RuntimeError, match="inside a task"):
        waits.delay(False).get()


def test_TST_4_arguments_travel_as_they_do_in_production(app: Celery, stepper: Stepper) -> None:
    seen: list[Any] = []
    app.task(name="see")(seen.append).delay((1, 2))
    stepper.run()
    assert seen == [[1, 2]]


def test_TST_4_tasks_of_other_programs_are_kept_apart(app: Celery, stepper: Stepper) -> None:
    app.send_task("billing.invoice", (7,), queue="billing")
    assert [call.queue for call in stepper.waiting("billing")] == ["billing"]
    assert stepper.finish() == []
    (call,) = stepper.foreign
    assert (call.name, call.args, call.queue) == ("billing.invoice", [7], "billing")
    assert stepper.waiting() == []


def test_TST_4_shared_tasks_go_to_the_app_under_test(app: Celery) -> None:
    @shared_task(name="shared_here")
    def shared_here() -> str:
        return "ran"

    Celery("another")
    with app.testing() as stepper:
        shared_here.delay()
        assert [ran.value for ran in stepper.run()] == ["ran"]


def test_TST_4_signals_and_handlers_are_those_of_a_worker(app: Celery, stepper: Stepper) -> None:
    told: list[str] = []

    @signals.task_success.connect
    def hear(sender: Any, result: int, **_: Any) -> None:
        told.append(f"{sender.name}={result}")

    app.tasks["add"].delay(1, 2)
    stepper.run()
    assert told == ["add=3"]


def test_TST_4_clear_forgets(app: Celery, stepper: Stepper) -> None:
    app.tasks["add"].delay(1, 2)
    app.tasks["add"].apply_async((1, 2), countdown=5)
    stepper.clear()
    assert (stepper.waiting(), stepper.finish(), stepper.ran) == ([], [], [])


def test_TST_4_a_task_without_end_is_said(
    app: Celery, stepper: Stepper, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celeriac.testing import stepper as module

    monkeypatch.setattr(module, "MOST", 20)

    @app.task(name="again", bind=True, max_retries=None)
    def again(self: Any) -> None:
        self.retry(countdown=60)

    again.delay()
    with pytest.raises(RuntimeError, match="20 tasks ran and there is no end"):
        stepper.finish()


def test_TST_4_afterwards_all_is_as_before(app: Celery) -> None:
    with app.testing(now=NOON):
        app.tasks["add"].delay(1, 2)
        app.close()  # as a web application does at its end
        app.tasks["add"].delay(3, 4)
        assert app.now() == NOON
    assert app.now() > NOON
    assert app.broker_url == "redis://127.0.0.1:1/0"
    with app.testing() as fresh:
        assert fresh.waiting() == []


def test_TST_4_eager_mode_beside_it_is_refused(app: Celery) -> None:
    app.conf.task_always_eager = True
    with pytest.raises(ImproperlyConfigured, match="task_always_eager"), app.testing():
        pass


def test_TST_4_results_are_off_where_production_keeps_none() -> None:
    app = Celery("proj", broker="redis://127.0.0.1:1/0")
    task = app.task(name="one")(lambda: 1)
    with app.testing() as stepper:
        result = task.delay()
        (ran,) = stepper.run()
        assert ran.value == 1
        with pytest.raises(ImproperlyConfigured, match="result_backend"):
            result.get()


def test_TST_4_time_does_not_go_back(stepper: Stepper) -> None:
    with pytest.raises(ValueError, match="does not go back"):
        stepper.advance(-1)


# --- in coroutines ----------------------------------------------------------------------------------------


def test_TST_4_coroutines_run_in_the_loop_of_the_test(app: Celery) -> None:
    async def story() -> None:
        async with app.testing(now=NOON) as stepper:
            result = await app.tasks["nap"].adelay([])
            (ran,) = await stepper.arun()
            assert ran.value == str(id(asyncio.get_running_loop()))
            assert await result == ran.value
            await app.tasks["nap"].aapply_async(([],), countdown=60)
            assert await stepper.astep() is None
            (ran,) = await stepper.aadvance(60)
            assert ran.at == NOON + timedelta(seconds=60)
            await app.tasks["stubborn"].adelay(1)
            assert [one.state for one in await stepper.afinish()] == ["RETRY", "SUCCESS"]

    asyncio.run(story())


def test_TST_4_awaiting_a_result_runs_what_brings_it(app: Celery) -> None:
    async def story() -> None:
        with app.testing() as stepper:
            assert await (await app.tasks["nap"].adelay([])) == str(id(asyncio.get_running_loop()))
            late = await app.tasks["add"].aapply_async((1, 2), countdown=60)
            with pytest.raises(TimeoutError, match="within 10 s"):
                await late.aget(timeout=10)
            assert await late == 3
            assert len(stepper.ran) == 2

    asyncio.run(story())


def test_TST_4_a_plain_task_may_have_a_loop_of_its_own(app: Celery) -> None:
    async def inner() -> str:
        return "inner"

    @app.task(name="plain")
    def plain() -> str:
        return asyncio.run(inner())

    async def story() -> None:
        async with app.testing() as stepper:
            await plain.adelay()
            assert [ran.value for ran in await stepper.arun()] == ["inner"]

    asyncio.run(story())
