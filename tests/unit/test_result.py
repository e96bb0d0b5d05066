"""Results: reading, waiting by notification from threads and coroutines, rebuilding errors."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from celeriac import AsyncResult, Celery, EagerResult
from celeriac import request as requests
from celeriac.exceptions import ImproperlyConfigured, TaskRevokedError, TimeoutError
from celeriac.message import Fate, Outcome, Result
from celeriac.request import Request
from celeriac.result import allow_join_result, denied_join_result, result_from_tuple
from celeriac.revoking import revoke
from celeriac.waiting import Waiting
from celeriac.wire.result import encode_result


@pytest.fixture
def app() -> Iterator[Celery]:
    url = f"memory://{uuid4().hex}"
    with Celery("proj", broker=url, backend=url) as app:
        yield app


def save(app: Celery, task_id: str, value: Any = None, status: str = "SUCCESS", **more: Any) -> None:
    assert app.results is not None
    payload = encode_result(task_id=task_id, status=status, result=value, **more)
    app.results.save([Result(task_id, payload)])


def waits(app: Celery, *task_ids: str) -> None:
    """Return once somebody waits for each of these ids."""
    deadline = time.monotonic() + 10
    while not all(task_id in app.waiting._wanted for task_id in task_ids):
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


# --- looking ----------------------------------------------------------------------------------------------


def test_an_unknown_id_reads_pending(app: Celery) -> None:
    result = app.AsyncResult("nobody")
    assert result.status == result.state == "PENDING"
    assert (result.result, result.traceback) == (None, None)
    assert not any((result.ready(), result.successful(), result.failed(), result.exists()))
    assert result.children is None


def test_a_result_reads_what_is_stored(app: Celery) -> None:
    result = app.AsyncResult("i")
    save(app, "i", {"pid": 1}, "STARTED")
    assert (result.state, result.info, result.ready()) == ("STARTED", {"pid": 1}, False)
    done = datetime.now(UTC)
    save(app, "i", [1, 2], date_done=done.isoformat(), children=[[["c", None], None]], extra={"name": "add"})
    assert (result.state, result.result, result.info) == ("SUCCESS", [1, 2], [1, 2])
    assert result.ready()
    assert result.successful()
    assert result.date_done == done
    assert result.children == [app.AsyncResult("c")]
    assert result.name == "add"
    assert result.get() == [1, 2]


def test_a_failure_is_raised_as_the_exception_that_it_was(app: Celery) -> None:
    save(app, "i", KeyError("k"), "FAILURE", traceback="Traceback ...")
    result = app.AsyncResult("i")
    assert result.failed()
    assert result.traceback == "Traceback ..."
    assert result.result is result.result
    with pytest.raises(KeyError, match="k"):
        result.get(timeout=1)
    with pytest.raises(KeyError):
        result.maybe_throw()
    assert repr(result.get(propagate=False)) == "KeyError('k')"
    assert repr(result.maybe_throw(propagate=False)) == "KeyError('k')"


def test_callbacks_of_get_hear_the_value(app: Celery) -> None:
    heard: list[Any] = []
    save(app, "i", 5)
    app.AsyncResult("i").get(
        callback=lambda *told: heard.append(told), on_message=lambda meta: heard.append(meta["status"])
    )
    assert heard == ["SUCCESS", ("i", 5)]


def test_an_empty_id_is_an_error(app: Celery) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        app.AsyncResult("")


def test_without_a_backend_every_question_says_what_to_set() -> None:
    result = Celery("proj", broker="memory://").AsyncResult("i")
    for ask in (result.get, result.ready, result.forget, lambda: result.status):
        with pytest.raises(ImproperlyConfigured, match="result_backend"):
            ask()
    with pytest.raises(ImproperlyConfigured, match="result_backend"):
        asyncio.run(result.aget())


def test_a_result_that_nobody_keeps_is_none_at_once() -> None:
    app = Celery("proj", broker=f"memory://{uuid4().hex}")

    @app.task(ignore_result=True)
    def job() -> None: ...

    assert job.delay().get() is None
    app.close()


# --- waiting ----------------------------------------------------------------------------------------------


def test_get_waits_until_the_result_is_told(app: Celery) -> None:
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(app.AsyncResult("i").get(timeout=10)))
    thread.start()
    waits(app, "i")
    save(app, "i", None, "STARTED")
    save(app, "i", 42)
    thread.join(10)
    assert got == [42]
    assert app.waiting._wanted == {}


def test_get_gives_up_on_time(app: Celery) -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"within 0\.2 s"):
        app.AsyncResult("i").get(timeout=0.2)
    assert 0.2 <= time.monotonic() - started < 2
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        app.AsyncResult("i").get(timeout=0)
    assert time.monotonic() - started < 1
    save(app, "i", 5)
    assert app.AsyncResult("i").get(timeout=0) == 5


def test_many_threads_and_coroutines_wait_on_one_watch(app: Celery) -> None:
    assert app.results is not None
    opened = []
    watch = app.results.watch
    app.results.watch = lambda told: (opened.append(1), watch(told))[1]  # type: ignore[method-assign]
    ids = [f"i{n}" for n in range(20)]
    got: dict[str, list[int]] = {task_id: [] for task_id in ids}

    def in_thread(task_id: str) -> None:
        got[task_id].append(app.AsyncResult(task_id).get(timeout=20))

    async def in_loop() -> None:
        for task_id, value in zip(
            ids, await asyncio.gather(*(app.AsyncResult(i).aget(timeout=20) for i in ids)), strict=True
        ):
            got[task_id].append(value)

    threads = [threading.Thread(target=in_thread, args=(task_id,)) for task_id in ids * 2]
    threads.append(threading.Thread(target=lambda: asyncio.run(in_loop())))
    for thread in threads:
        thread.start()
    for number, task_id in enumerate(ids):
        save(app, task_id, number)
    for thread in threads:
        thread.join(30)
    assert got == {task_id: [number] * 3 for number, task_id in enumerate(ids)}
    assert opened == [1]


def test_no_wake_up_is_lost_when_one_leaves_as_another_comes(app: Celery) -> None:
    """One thread gives up on an id again and again while another waits for it."""
    for number in range(30):
        task_id = f"i{number}"
        got: list[int] = []

        def wait(i: str = task_id, got: list[int] = got) -> None:
            got.append(app.AsyncResult(i).get(timeout=10))

        def give_up(i: str = task_id) -> None:
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    app.AsyncResult(i).get(timeout=0)

        waiter, leaver = threading.Thread(target=wait), threading.Thread(target=give_up)
        leaver.start()
        waiter.start()
        leaver.join()
        save(app, task_id, number)
        waiter.join(20)
        assert got == [number]


def test_a_watch_that_cannot_be_opened_is_told_and_tried_again() -> None:
    class Broken:
        def ear(self) -> None:
            return None

        def watch(self, told: object) -> Any:
            raise ConnectionError("gone")

    waiting = Waiting(Broken())  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(ConnectionError):
            waiting.wait(["i"], lambda *_: None, timeout=1)
    assert waiting._wanted == {}
    waiting.close()


def test_awaiting_a_result_leaves_the_loop_free(app: Celery) -> None:
    async def endpoint() -> tuple[int, int]:
        turns = 0
        waiter = asyncio.ensure_future(app.AsyncResult("i").aget())
        while "i" not in app.waiting._wanted:
            await asyncio.sleep(0)
            turns += 1
        await asyncio.to_thread(save, app, "i", 7)
        return await waiter, turns

    value, turns = asyncio.run(endpoint())
    assert value == 7
    assert turns >= 1

    async def direct() -> Any:
        return await app.AsyncResult("i")

    assert asyncio.run(direct()) == 7


def test_aget_and_adelay_go_on_while_the_program_keeps_its_own_threads_busy(app: Celery) -> None:
    @app.task
    def job() -> None: ...

    async def endpoint() -> Any:
        loop, over = asyncio.get_running_loop(), threading.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))
        busy = loop.run_in_executor(None, over.wait, 20)
        sent = await asyncio.wait_for(job.adelay(), 10)
        save(app, sent.id, 7)
        try:
            return await asyncio.wait_for(sent.aget(), 10)
        finally:
            over.set()
            await busy

    assert asyncio.run(endpoint()) == 7


def test_aget_gives_up_on_time_and_can_be_cancelled(app: Celery) -> None:
    async def too_long() -> None:
        with pytest.raises(TimeoutError):
            await app.AsyncResult("i").aget(timeout=0.1)
        with pytest.raises(asyncio.TimeoutError):
            async with asyncio.timeout(0.1):
                await app.AsyncResult("i")
        waiter = asyncio.ensure_future(app.AsyncResult("i").aget())
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter

    asyncio.run(too_long())
    deadline = time.monotonic() + 10
    while app.waiting._wanted:
        assert time.monotonic() < deadline, "whoever left is forgotten"
        time.sleep(0.001)


def test_who_has_no_time_sees_what_is_there(app: Celery) -> None:
    assert app.results is not None
    app.results.save([Result("there", encode_result(task_id="there", status="SUCCESS", result=7))])
    for timeout in (0, -1):
        assert app.AsyncResult("there").get(timeout=timeout) == 7
        assert asyncio.run(app.AsyncResult("there").aget(timeout=timeout)) == 7
        with pytest.raises(TimeoutError):
            asyncio.run(app.AsyncResult("elsewhere").aget(timeout=timeout))


def test_a_failed_parent_ends_the_waiting(app: Celery) -> None:
    parent = app.AsyncResult("parent")
    child = AsyncResult("child", app=app, parent=parent)
    save(app, "parent", KeyError("k"), "FAILURE")
    with pytest.raises(KeyError):
        child.get(timeout=10)
    with pytest.raises(KeyError):
        asyncio.run(child.aget(timeout=10))
    with pytest.raises(TimeoutError):
        child.get(timeout=0, follow_parents=False)


def test_a_forked_child_waits_on_a_watch_of_its_own(app: Celery) -> None:
    waiting = app.waiting
    pid = os.fork()
    if not pid:
        os._exit(0 if app.waiting is not waiting else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert app.waiting is waiting


# --- inside a task ----------------------------------------------------------------------------------------


def test_waiting_inside_a_task_is_refused_unless_allowed(app: Celery) -> None:
    save(app, "i", 5)
    request = Request(id="t", task="t", called_directly=False)
    requests.push(request)
    try:
        with pytest.raises(RuntimeError, match="allow_join_result"):
            app.AsyncResult("i").get()
        assert app.AsyncResult("i").get(disable_sync_subtasks=False) == 5
        with allow_join_result():
            assert app.AsyncResult("i").get() == 5
        request.waiting_blocks = False
        assert app.AsyncResult("i").get() == 5
    finally:
        requests.pop()
    assert app.AsyncResult("i").get() == 5
    with denied_join_result(), pytest.raises(RuntimeError):
        app.AsyncResult("i").get()


# --- acting -----------------------------------------------------------------------------------------------


def test_a_forgotten_result_is_pending_again(app: Celery) -> None:
    save(app, "i", 5)
    save(app, "parent", 4)
    result = AsyncResult("i", app=app, parent=app.AsyncResult("parent"))
    assert result.get() == 5
    result.forget()
    assert result.state == app.AsyncResult("parent").state == "PENDING"


def test_a_revoked_task_says_so_at_once(app: Celery) -> None:
    result = app.AsyncResult("i")
    result.revoke()
    assert "i" in app.broker.revoked
    assert result.state == "REVOKED"
    assert result.date_done is not None
    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get()
    result.revoke()


def test_who_waits_for_a_task_is_told_that_it_is_revoked(app: Celery) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(app.AsyncResult("i").get, timeout=10)
        app.AsyncResult("i").revoke()
        with pytest.raises(TaskRevokedError):
            waiting.result()


def test_a_task_that_ended_or_runs_keeps_its_state_when_it_is_revoked(app: Celery) -> None:
    error = ValueError("no")
    for task_id, status, value in (
        ("done", "SUCCESS", 5),
        ("bad", "FAILURE", error),
        ("runs", "STARTED", {}),
    ):
        save(app, task_id, value, status)
        app.AsyncResult(task_id).revoke()
        assert app.AsyncResult(task_id).state == status
    assert app.AsyncResult("done").get() == 5
    save(app, "again", ValueError("no"), "RETRY")
    app.AsyncResult("again").revoke()
    assert app.AsyncResult("again").state == "REVOKED"


def test_a_task_that_a_worker_holds_is_not_said_to_be_revoked(app: Celery) -> None:
    held, waits = app.send_task("held"), app.send_task("waits")
    worker = app.open_worker_broker()
    worker.consume(["celery"])
    worker.enlist("worker", "node", 30.0)
    (claim,) = worker.turn("worker", (), 1)
    held.revoke()
    waits.revoke()
    assert (held.state, waits.state) == ("PENDING", "REVOKED")
    worker.turn("worker", [Outcome(claim.number, Fate.GIVEN_BACK)], 2)
    assert held.id in worker.revoked
    worker.close()


def test_a_revoke_needs_no_results_and_says_nothing_where_they_are_ignored(app: Celery) -> None:
    with Celery("proj", broker=f"memory://{uuid4().hex}") as without:
        without.AsyncResult("i").revoke()
        assert "i" in without.broker.revoked
    ignored = app.send_task("task", ignore_result=True)
    ignored.revoke()
    assert ignored.state == "PENDING"
    assert ignored.id in app.broker.revoked


def test_a_revoke_is_kept_as_long_as_the_settings_say(app: Celery) -> None:
    app.conf.task_revokes_expire = 0.01
    app.AsyncResult("i").revoke()
    deadline = time.monotonic() + 10
    while "i" in app.broker.revoked:
        assert time.monotonic() < deadline
    app.conf.task_revokes_expire = None
    app.AsyncResult("j").revoke()
    assert "j" in app.broker.revoked


def test_RES_1_all_tasks_with_a_stamp_are_revoked_by_a_result(app: Celery) -> None:
    result = app.AsyncResult("any")
    result.revoke_by_stamped_headers({"customer": ["c1", "c2"]})
    assert all(f"\ncustomer\n{name}" in app.broker.revoked for name in ("c1", "c2"))
    assert "\ncustomer\nc3" not in app.broker.revoked


def test_RES_1_a_result_names_its_timeout_and_is_told_natively(app: Celery) -> None:
    result = app.AsyncResult("any")
    assert result.supports_native_join
    with pytest.raises(result.TimeoutError):
        result.get(timeout=0.01)


def test_many_tasks_are_revoked_in_one_call(app: Celery) -> None:
    ids = [str(n) for n in range(2500)]
    revoke(app, ids)
    assert {app.AsyncResult(task_id).state for task_id in ids} == {"REVOKED"}


# --- as a value -------------------------------------------------------------------------------------------


def test_results_are_compared_printed_and_copied_by_their_id(app: Celery) -> None:
    result = AsyncResult("i", app=app, parent=app.AsyncResult("p"))
    assert str(result) == "i"
    assert repr(result) == "<AsyncResult: i>"
    assert result == app.AsyncResult("i")
    assert result == "i"
    assert result != app.AsyncResult("j")
    assert len({result, app.AsyncResult("i")}) == 1
    for twin in (copy.copy(result), copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert twin == result
        assert twin.parent == result.parent
    assert result.task_id == "i"


def test_a_result_is_written_down_as_a_tuple(app: Celery) -> None:
    result = AsyncResult("i", app=app, parent=app.AsyncResult("p"))
    assert result.as_tuple() == (("i", (("p", None), None)), None)
    again = result_from_tuple(result.as_tuple(), app)
    assert again == result
    assert again.parent == result.parent
    assert result.as_list() == ["i", "p"]
    assert result_from_tuple(again) is again


def test_an_eager_result_knows_all_from_the_start() -> None:
    good: EagerResult[int] = EagerResult("i", 5, "SUCCESS")
    bad: EagerResult[int] = EagerResult("i", KeyError("k"), "FAILURE", "Traceback ...")
    assert good.get() == 5
    assert asyncio.run(good.aget()) == 5
    assert repr(good) == "<EagerResult: i>"
    assert good.ready()
    assert bad.failed()
    assert bad.traceback == "Traceback ..."
    with pytest.raises(KeyError):
        bad.get()
    assert isinstance(bad.get(propagate=False), KeyError)
    good.forget()
    good.revoke()
    assert good.state == "REVOKED"
    with pytest.raises(TaskRevokedError):
        good.get()
