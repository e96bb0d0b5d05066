"""Workflows at work on true workers: whatever happens to a member, each ends, once, and leaves nothing."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

import pytest

from canvas.test_random import until
from celeriac import Celery, GroupResult, chain, chord, group
from celeriac.canvas.publishing import message_of
from celeriac.exceptions import ChordError, TaskRevokedError, TimeoutError
from celeriac.message import Message
from celeriac.testing.worker import start_worker
from celeriac.wire.task import unpack
from services import RedisServer

WAIT = 15.0


class Heard:
    """What errbacks heard, as a list to wait for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, BaseException]] = []
        self._news = threading.Condition()

    def note(self, task_id: str, error: BaseException) -> None:
        with self._news:
            self.calls.append((task_id, error))
            self._news.notify_all()

    def wait(self, n: int = 1) -> list[tuple[str, BaseException]]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.calls) >= n, WAIT)
            return list(self.calls)


class Stage:
    """An app with its tasks, and a worker that runs them in this process."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app = app = Celery("workflows", broker=url, backend=url, set_as_current=False)
        self.heard = heard = Heard()
        self.held = threading.Event()

        @app.task(name="add")
        def add(*numbers: int) -> int:
            return sum(numbers)

        @app.task(name="total")
        def total(numbers: list[int], *more: int) -> int:
            return sum(numbers) + sum(more)

        @app.task(name="listed")
        def listed(values: Any) -> Any:
            return values

        @app.task(name="fail")
        def fail(*_: Any) -> None:
            raise ValueError("no", 3)

        @app.task(name="hear")
        def hear(request: Any, error: BaseException, traceback: Any) -> None:
            heard.note(request.id, error)

        @app.task(name="hear_id")
        def hear_id(task_id: str) -> None:
            heard.note(task_id, RuntimeError("by id"))

        @app.task(name="again", bind=True, max_retries=3)
        def again(self: Any, x: int) -> int:
            if self.request.retries < 2:
                raise self.retry(countdown=0)
            return x

        @app.task(name="wait_for_the_test")
        def wait_for_the_test(x: int) -> int:
            assert self.held.wait(WAIT)
            return x

        @app.task(name="instead", bind=True)
        def instead(self: Any, x: int, how: str) -> None:
            if how == "chain":
                raise self.replace(add.s(x, 1) | add.s(10))
            if how == "group":
                raise self.replace(group(add.s(x, 1), add.s(x, 2)))
            if how == "chain to group":
                raise self.replace(add.s(x, 1) | group(add.s(10), add.s(20)))
            if how == "chord to group":
                raise self.replace(chord([add.s(x)], group(total.s(1), total.s(2))))
            if how == "nothing":
                raise self.replace(group())
            raise self.replace(chord([add.s(x), add.s(1)], total.s()))

        @app.task(name="grow", bind=True)
        def grow(self: Any, x: int, fails: bool = False) -> int:
            self.add_to_chord(add.s(x * 9) | add.s(1))
            self.add_to_chord(fail.s() if fails else add.s(x, 99))
            return x

        self.grow = grow
        self.add, self.total, self.listed, self.fail = add, total, listed, fail
        self.hear, self.hear_id, self.again, self.instead = hear, hear_id, again, instead
        self.wait_for_the_test = wait_for_the_test

    def waiting(self, queue: str) -> int:
        return self.app.broker.depth([queue])[queue].ready

    def settled(self) -> bool:
        depth = self.app.broker.depth(["celery"])["celery"]
        return depth.ready + depth.delayed + depth.claimed == 0


@pytest.fixture(scope="module")
def stage(store_of_its_own: str) -> Iterator[Stage]:
    stage = Stage(store_of_its_own)
    with stage.app, start_worker(stage.app, concurrency=4):
        yield stage


@pytest.fixture(autouse=True)
def nothing_heard(stage: Stage) -> None:
    stage.heard.calls.clear()
    stage.held.clear()


def test_a_group_gives_its_values_in_order(stage: Stage) -> None:
    add = stage.add
    result = group(add.s(n) for n in range(20)).delay()
    assert result.get(timeout=WAIT) == list(range(20))
    assert result.ready()
    assert result.successful()
    assert result.completed_count() == 20
    assert [child.get(timeout=1) for child in result] == list(range(20))
    assert group(add.s(1), add.s(2)).apply_async((10,)).get(timeout=WAIT) == [11, 12]
    assert group(add.s(1), group(add.s(2), add.s(3))).delay().get(timeout=WAIT) == [1, 2, 3]


def test_a_chord_of_a_hundred(stage: Stage) -> None:
    result = chord((stage.add.s(n) for n in range(100)), stage.listed.s()).apply_async()
    assert result.get(timeout=WAIT) == list(range(100))
    assert isinstance(result.parent, GroupResult)
    assert result.parent.get(timeout=WAIT) == list(range(100))


def test_workflows_nest_in_every_way(stage: Stage) -> None:
    a, tot, lst = stage.add.s, stage.total.s, stage.listed.s
    cases = [
        (a(1) | group(a(1), a(2)), [2, 3]),
        (a(1) | group(a(1), a(2)) | tot(), 5),
        (a(1) | group(a(1), a(2)) | tot() | a(100), 105),
        (group(a(1), a(2)) | group(tot(), tot(1)), [3, 4]),
        (group(a(1), a(2)) | group(tot(), tot(1)) | tot() | a(1), 8),
        (chord([chord([a(1), a(3)], tot()), a(5)], lst()), [4, 5]),
        (chord([a(1) | a(2), a(5) | a(6) | a(7), a(1)], lst()), [3, 18, 1]),
        (chord([a(1) | group(a(2), a(3)), a(9)], lst()), [[3, 4], 9]),
        (chord([a(1) | group(a(2), a(3)) | tot(), a(9)], lst()), [7, 9]),
        (chord([a(1), a(2)], lst()) | chord([tot(1), tot(2)], lst()), [4, 5]),
        (chord([a(1), a(2)], lst()) | group(tot(1), tot(2)), [4, 5]),
        (chord([a(1), a(2)], group(tot(), tot(1))), [3, 4]),
        (chord([a(1), a(2)], chain(tot(), a(1), a(2))), 6),
        (group(chord([a(1), a(2)], tot()), a(9)), [3, 9]),
        (group(a(1) | a(2), a(3) | group(a(1), a(2))), [3, [4, 5]]),
        (group(a(1), group(a(2), a(3) | a(4))) | lst(), [1, 2, 7]),
        (stage.add.chunks([(1, 2), (3, 4), (5, 6)], 2), [[3, 7], [11]]),
        (stage.add.map([1, 2]), [1, 2]),
        (stage.add.starmap([(1, 2), (3,)]) | tot(), 6),
    ]
    sent = [(signature, signature.apply_async(), value) for signature, value in cases]
    for signature, result, value in sent:
        assert result.get(timeout=WAIT) == value, signature


def test_the_same_workflows_run_in_place(stage: Stage) -> None:
    a, tot, lst = stage.add.s, stage.total.s, stage.listed.s
    assert (a(1) | group(a(1), a(2)) | tot() | a(100)).apply().get() == 105
    assert chord([a(1) | group(a(2), a(3)), a(9)], lst()).apply().get() == [[3, 4], 9]
    assert group(a(1), a(2)).apply((10,)).get() == [11, 12]
    failed = chord([a(1), stage.fail.s()], tot()).apply()
    with pytest.raises(ChordError, match=r"Dependency .* raised ValueError\('no', 3\)"):
        failed.get()


def test_empty_workflows_end_too(stage: Stage) -> None:
    assert group(app=stage.app).delay().get(timeout=1) == []
    assert chord([], stage.listed.s()).apply_async().get(timeout=WAIT) == []
    assert (stage.add.s(1) | group()).apply_async().get(timeout=WAIT) == 1
    assert chain(app=stage.app).apply_async() is None
    assert chord([group(app=stage.app), stage.add.s(1)], stage.listed.s()).apply_async().get(
        timeout=WAIT
    ) == [1]


def test_a_member_that_fails_fails_the_body_once(stage: Stage) -> None:
    body = stage.total.s().on_error(stage.hear.s())
    result = chord([stage.add.s(1), stage.fail.s(), stage.fail.s(), stage.add.s(2)], body).apply_async()
    with pytest.raises(ChordError, match=r"raised ValueError\('no', 3\)") as raised:
        result.get(timeout=WAIT)
    first = result.parent[1].id
    assert str(raised.value).startswith(f"Dependency {first} ")
    ((heard_id, error),) = stage.heard.wait()
    assert (heard_id, str(error)) == (result.id, str(raised.value))
    assert result.state == "FAILURE"


def test_errbacks_are_called_on_each_level_once(stage: Stage) -> None:
    inner = chord([stage.fail.s(), stage.add.s(1)], stage.total.s().on_error(stage.hear_id.s()))
    outer = chord([inner, stage.add.s(1)], stage.total.s().on_error(stage.hear.s()))
    result = outer.apply_async()
    with pytest.raises(ChordError):
        result.get(timeout=WAIT)
    heard = stage.heard.wait(2)
    assert {task_id for task_id, _ in heard} == {result.parent[0].id, result.id}
    assert len(heard) == 2


def test_a_chain_that_breaks_in_a_header_counts_as_failed(stage: Stage) -> None:
    header = [stage.add.s(1), stage.fail.s() | stage.add.s(1) | stage.add.s(2)]
    body = chain(stage.total.s(), stage.add.s(1)).on_error(stage.hear.s())
    result = chord(header, body).apply_async()
    with pytest.raises(ChordError):
        result.get(timeout=WAIT)
    assert [task_id for task_id, _ in stage.heard.wait()] == [result.parent.id]
    assert result.parent.state == "FAILURE"
    assert stage.app.AsyncResult(result.parent.parent[1].id).state == "FAILURE"


def test_what_never_runs_in_a_broken_chain_fails_with_it(stage: Stage) -> None:
    steps = chain(stage.fail.s(), chord([stage.add.s(1), stage.add.s(2)], stage.total.s()), stage.add.s(1))
    result = steps.on_error(stage.hear.s()).apply_async()
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=WAIT)
    header = result.parent.parent
    assert all(isinstance(child.get(timeout=WAIT, propagate=False), ValueError) for child in header)
    assert [task_id for task_id, _ in stage.heard.wait()] == [header.parent.id]


def test_every_task_of_a_group_as_body_fails(stage: Stage) -> None:
    body = group(stage.total.s(), stage.total.s(1)).on_error(stage.hear.s())
    result = chord([stage.fail.s()], body).apply_async()
    with pytest.raises(ChordError):
        result.get(timeout=WAIT)
    heard = stage.heard.wait(2)
    assert {task_id for task_id, _ in heard} == {child.id for child in result}


def test_a_revoked_and_an_expired_member_count_as_failed(stage: Stage) -> None:
    late = stage.add.s(1).set(expires=datetime.now(UTC) - timedelta(minutes=1))
    with pytest.raises(ChordError, match="TaskRevokedError"):
        chord([late, stage.add.s(2)], stage.total.s()).apply_async().get(timeout=WAIT)
    waiting = [stage.wait_for_the_test.s(n) for n in range(4)]
    held = group(waiting).delay()
    result = chord([stage.add.s(1), stage.add.s(2)], stage.total.s()).apply_async()
    result.parent[1].revoke()
    stage.held.set()
    assert held.get(timeout=WAIT) == [0, 1, 2, 3]
    with pytest.raises(ChordError, match="TaskRevokedError"):
        result.get(timeout=WAIT)
    with pytest.raises(TaskRevokedError):
        result.parent[1].get(timeout=WAIT)


def test_a_member_may_be_tried_again_or_replaced(stage: Stage) -> None:
    header = [
        stage.again.s(5),
        stage.instead.s(1, "chain"),
        stage.instead.s(1, "group"),
        stage.instead.s(1, "chord"),
    ]
    assert chord(header, stage.listed.s()).apply_async().get(timeout=WAIT) == [5, 12, [2, 3], 2]
    assert (
        chain(stage.add.s(1), stage.instead.s("chain"), stage.add.s(100)).apply_async().get(timeout=WAIT)
        == 112
    )
    assert stage.instead.delay(1, "group").get(timeout=WAIT) == [2, 3]


def test_what_ends_in_a_group_replaces_a_task_as_one_value(stage: Stage) -> None:
    ends = [stage.instead.s(1, how) for how in ("chain to group", "chord to group", "nothing")]
    assert group(ends).delay().get(timeout=WAIT) == [[12, 22], [2, 3], []]
    # Other members are counted after them, so none may be counted twice.
    header = [*ends[:2], stage.again.s(5), stage.again.s(6)]
    assert chord(header, stage.listed.s()).delay().get(timeout=WAIT) == [[12, 22], [2, 3], 5, 6]


def test_nobody_waits_for_a_result_that_is_not_stored(stage: Stage) -> None:
    add, quiet = stage.add, stage.add.s(2, 2).set(ignore_result=True)
    assert group(add.s(1, 1), quiet, chain(add.s(1, 1), add.s(1))).delay().get(timeout=WAIT) == [2, None, 3]
    assert chain(add.s(1, 1), add.s(1).set(ignore_result=True)).delay().get(timeout=WAIT) is None
    summed = chord([add.s(1, 1), quiet], stage.total.s())  # a body gets all values
    assert summed.delay().get(timeout=WAIT) == 6
    stage.app.conf.task_ignore_result = True
    try:
        assert group(stage.app.signature("unknown")).freeze().get(timeout=WAIT) == [None]
    finally:
        stage.app.conf.task_ignore_result = False


def test_a_member_that_comes_twice_counts_once(stage: Stage) -> None:
    add = stage.add
    prepared = chord([add.s(n).set(queue="aside") for n in range(3)], stage.listed.s()).prepare()
    messages = [message_of(stage.app, call) for call in prepared.calls]
    here = [Message(message.id, "celery", message.payload) for message in messages]
    stage.app.publish([here[0], here[0], here[1]])
    stage.app.publish([here[1], here[0], here[2], here[2]])
    assert prepared.result.get(timeout=WAIT) == [0, 1, 2]
    assert [unpack(message.payload).group_index for message in here] == [0, 1, 2]


def test_the_id_of_a_group_may_be_given_to_another_chord_when_the_first_is_through(stage: Stage) -> None:
    add, total, listed, fail = stage.add, stage.total, stage.listed, stage.fail

    def nightly(header: list[Any], body: Any) -> Any:
        return (group(header, task_id="nightly") | body).delay()

    assert nightly([add.s(1), add.s(2)], total.s()).get(timeout=WAIT) == 3
    assert nightly([add.s(1), add.s(2), add.s(3)], listed.s()).get(timeout=WAIT) == [1, 2, 3]
    with pytest.raises(ChordError):
        nightly([add.s(1), fail.s()], total.s()).get(timeout=WAIT)
    assert nightly([add.s(1).set(link=add.s(1)), add.s(2)], total.s(5)).get(timeout=WAIT) == 8


def test_a_group_is_iterated_as_its_values_come(stage: Stage) -> None:
    result = group(stage.wait_for_the_test.s(1), stage.add.s(2)).delay()
    arrived = result.iterate(timeout=WAIT)
    assert next(arrived).id == result[1].id
    with pytest.raises(TimeoutError):
        result.get(timeout=0.05)
    stage.held.set()
    assert next(arrived).get(timeout=WAIT) == 1
    assert list(arrived) == []


def test_a_group_is_awaited(stage: Stage) -> None:
    async def program() -> tuple[list[int], list[str]]:
        result = group(stage.add.s(n) for n in range(10)).delay()
        arrived = [each.id async for each in result.aiterate(timeout=WAIT)]
        return await result, sorted(arrived) == sorted(child.id for child in result)

    assert asyncio.run(program()) == (list(range(10)), True)


def test_a_group_is_forgotten_with_all_that_came_before_its_members(stage: Stage) -> None:
    add, total = stage.add, stage.total
    chains = group(add.s(1) | add.s(1), group(add.s(1), add.s(2)) | total.s() | add.s(1))
    result = (add.s(1) | chains).delay()
    assert result.get(timeout=WAIT) == [3, 6]
    until(stage.settled)
    chained, counted = result
    all_of_it = [result.parent, chained, chained.parent, counted, counted.parent, *counted.parent.parent]
    assert {one.state for one in all_of_it} == {"SUCCESS"}
    result.forget()
    assert {one.state for one in all_of_it} == {"PENDING"}


def test_a_group_is_saved_and_restored(stage: Stage) -> None:
    result = group(stage.add.s(1), stage.add.s(2)).delay()
    result.save()
    again = GroupResult.restore(result.id, app=stage.app)
    assert again == result
    assert again.get(timeout=WAIT) == [1, 2]
    result.delete()
    assert GroupResult.restore(result.id, app=stage.app) is None
    result.forget()
    assert not result.ready()


def test_a_failing_task_of_a_group_is_raised_at_once(stage: Stage) -> None:
    result = group(stage.wait_for_the_test.s(1), stage.fail.s()).delay()
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=WAIT)
    assert result.failed()
    stage.held.set()
    values = result.get(timeout=WAIT, propagate=False)
    assert (values[0], repr(values[1])) == (1, "ValueError('no', 3)")


@pytest.mark.parametrize("results", ["elsewhere", "off"])
def test_chords_are_counted_where_the_messages_are(tmp_path: Path, results: str) -> None:
    backend = f"sqlite:///{tmp_path}/results.db" if results == "elsewhere" else None
    seen: SimpleQueue[list[int]] = SimpleQueue()
    app = Celery(broker=f"memory://{uuid4().hex}", backend=backend, set_as_current=False)

    @app.task
    def one(n: int) -> int:
        if n < 0:
            raise ValueError(n)
        return n

    @app.task
    def body(values: list[int]) -> int:
        seen.put(values)
        return sum(values)

    with app, start_worker(app, perform_ping_check=False):
        result = chord([one.s(1), one.s(2)], body.s()).apply_async()
        assert seen.get(timeout=WAIT) == [1, 2]
        if backend is not None:
            assert result.get(timeout=WAIT) == 3
            with pytest.raises(ChordError):
                chord([one.s(1), one.s(-1) | one.s()], body.s()).apply_async().get(timeout=WAIT)


def test_a_member_whose_worker_is_killed_too_often_fails_the_chord(
    redis_db: str, tmp_path: Path, worker_process: Callable[..., Any]
) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    worker = worker_process("killed", tmp_path, "-c", "2", "-l", "INFO", env={"CELERY_BROKER_URL": redis_db})
    with Celery(broker=redis_db, backend=redis_db, set_as_current=False) as app:
        die, one = (app.signature(f"killed.{name}") for name in ("die", "one"))
        fragile = app.signature("killed.die_once", (str(tmp_path / "died"),))
        assert chord([one, fragile], app.signature("killed.listed")).apply_async().get(timeout=30) == [1, 2]
        result = chord([one, die], app.signature("killed.listed")).apply_async()
        with pytest.raises(ChordError, match="WorkerLostError"):
            result.get(timeout=30)
    worker.stop()


def test_nothing_is_left_in_redis_but_results_and_short_notes(
    redis_server: RedisServer, redis_db: str
) -> None:
    stage = Stage(redis_db)
    with stage.app, start_worker(stage.app, concurrency=2):
        chord([stage.add.s(n) for n in range(5)], stage.total.s()).apply_async().get(timeout=WAIT)
        with pytest.raises(ChordError):
            chord([stage.add.s(1), stage.fail.s()], stage.total.s()).apply_async().get(timeout=WAIT)
        broker = stage.app.broker
        keys = [key.decode() for key in broker._operate("KEYS", "celery-taskset-meta-*")]  # type: ignore[attr-defined]
        assert all(key.endswith(".c") for key in keys)
        assert len(keys) == 2
        assert all(0 < broker._operate("TTL", key) <= 300 for key in keys)  # type: ignore[attr-defined]


def test_a_group_is_published_in_few_exchanges() -> None:
    url = f"memory://{uuid4().hex}"
    with Celery(broker=url, backend=url, set_as_current=False) as app:
        exchanges: list[int] = []
        publish_all = app.broker.publish_all

        def counting(batches: Any) -> None:
            publish_all(exchanges.append(len(batch)) or batch for batch in batches)  # type: ignore[func-returns-value]

        app.broker.publish_all = counting  # type: ignore[method-assign]
        result = group((app.signature("far", (n,)) for n in range(2000)), app=app).delay()
        assert exchanges == [500] * 4
        assert app.broker.depth(["celery"])["celery"].ready == len(result) == 2000


# --- a header that grows ----------------------------------------------------------------------------------


def test_TSK_19_a_member_adds_others_to_its_chord_while_it_runs(stage: Stage) -> None:
    result = chord([stage.grow.s(1), stage.add.s(5)], stage.listed.s()).delay()
    assert result.get(timeout=WAIT) == [1, 5, 10, 100]
    until(stage.settled)
    failing = chord([stage.grow.s(1, fails=True), stage.add.s(5)], stage.listed.s().on_error(stage.hear.s()))
    result = failing.delay()
    with pytest.raises(ChordError, match="no"):
        result.get(timeout=WAIT)
    assert [task_id for task_id, _ in stage.heard.wait()] == [result.id]


def test_TSK_19_who_stands_in_no_chord_can_add_nothing(stage: Stage) -> None:
    with pytest.raises(ValueError, match="no member of a chord"):
        stage.grow.delay(1).get(timeout=WAIT)


# --- what is never whole, or never understood -------------------------------------------------------------


@pytest.mark.parametrize("unread", [[1], [0, 1]], ids=["one", "all"])
def test_a_member_that_no_worker_can_read_fails_the_chord(stage: Stage, unread: list[int]) -> None:
    header = [stage.add.s(n).set(serializer="pickle" if n in unread else "json") for n in range(2)]
    result = chord(header, stage.total.s().on_error(stage.hear.s())).delay()
    with pytest.raises(ChordError, match="ContentDisallowed"):
        result.get(timeout=WAIT)
    assert [task_id for task_id, _ in stage.heard.wait()] == [result.id]


def test_a_group_whose_member_no_worker_can_read_leaves_no_chord(stage: Stage) -> None:
    results = group(stage.add.s(1), stage.add.s(2).set(serializer="pickle")).delay()
    with pytest.raises(Exception, match="pickle"):
        results.get(timeout=WAIT)
    assert results[0].get(timeout=WAIT) == 1


def test_a_header_whose_producer_is_killed_while_it_sends_it_fails_its_chord(stage: Stage) -> None:
    if stage.url.startswith("memory"):
        return  # there a producer dies with its store
    killed = subprocess.run([sys.executable, "-c", KILLED_PRODUCER, stage.url], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    body = stage.app.AsyncResult("of the killed producer")
    until(lambda: stage.app.broker.beat("a node", 30.0) == [] and body.ready())
    with pytest.raises(ChordError, match="its producer sent a part of the header"):
        body.get(timeout=WAIT)
    assert [task_id for task_id, _ in stage.heard.wait()] == [body.id]
    until(stage.settled)
    assert body.state == "FAILURE"
    assert len(stage.heard.calls) == 1


#: It dies with 500 of its messages sent.
KILLED_PRODUCER = """
import os, signal, sys
from celeriac import Celery, chord, signals
from celeriac.drivers import counting

counting.PATIENCE = 0.2
app = Celery(broker=sys.argv[1], backend=sys.argv[1])
made = 0

@signals.before_task_publish.connect
def die(**_):
    global made
    made += 1
    if made == 700:
        os.kill(os.getpid(), signal.SIGKILL)

body = app.signature("total").on_error(app.signature("hear"))
chord([app.signature("add", (n,)) for n in range(1200)], body).apply_async(task_id="of the killed producer")
"""


# --- errbacks by name -------------------------------------------------------------------------------------


def test_CAN_10_errbacks_of_every_kind_are_called_once_on_every_level(stage: Stage) -> None:
    """One that takes the error, one that takes an id, and one of a task that this worker does not know."""
    add, fail, total = stage.add.s, stage.fail.s, stage.total.s
    far = {"task": "far.errback", "options": {"queue": "elsewhere"}}
    for make, called in (
        (lambda: fail() | add(1), 1),
        (lambda: add(1) | fail() | add(1), 1),
        (lambda: group(fail(), add(1) | fail(), add(1)), 2),
        (lambda: chord([fail(), add(1)], total()), 1),
        (lambda: chord([add(1) | fail() | add(1), add(1)], total() | add(1)), 1),
        (lambda: chord([chord([fail(), add(1)], total()), add(1)], total()), 1),
        (lambda: chord([group(fail(), add(1)) | total(), add(1)], group(total(), total())), 2),
        (lambda: add(1) | group(fail(), add(1)) | total() | add(1), 1),
        (lambda: chord([add(1)], fail()), 1),
        (lambda: group(chord([add(1) | fail()], total()), add(1)), 1),
    ):
        heard: list[list[str]] = []
        for errback in (stage.hear.s(), stage.hear_id.s(), far):
            stage.heard.calls.clear()
            workflow = make()
            workflow.link_error(errback)
            workflow.apply_async()
            if errback is far:
                until(lambda least=called: stage.waiting("elsewhere") >= least)  # type: ignore[misc]
            else:
                stage.heard.wait(called)
            until(stage.settled)
            waiting = [unpack(payload) for payload in stage.app.broker.peek("elsewhere", 100)]
            stage.app.broker.purge("elsewhere")
            ids = [message.arguments({"json"})[0] for message in waiting]
            heard.append([*(task_id for task_id, _ in stage.heard.calls), *(id for (id,) in ids)])
        assert [len(ids) for ids in heard] == [called] * 3, workflow
        assert all(len(set(ids)) == called for ids in heard)


def test_CAN_10_an_errback_is_called_as_its_arguments_say(stage: Stage) -> None:
    heard = stage.heard

    @stage.app.task(name="errback.of_three")
    def of_three(request: Any, error: BaseException, traceback: Any, more: str) -> None:
        heard.note(f"error, {more}", error)

    @stage.app.task(name="errback.of_an_id")
    def of_an_id(task_id: str, more: str = "nothing") -> None:
        heard.note(f"id, {more}", RuntimeError(task_id))

    @stage.app.task(name="errback.bound", bind=True)
    def bound(self_: Any, task_id: str, more: str = "nothing", last: str = "") -> None:
        heard.note(f"bound, {more}", RuntimeError(task_id))

    errbacks = [
        of_three.s("given"),
        of_three.s(more="named"),
        group(of_an_id.s(), of_an_id.s("given")),
        of_an_id.s(more="named"),
        bound.s(),
        bound.s(more="named"),
        # These cannot be called at all, and the others are none the worse for it.
        of_three.si(),
        of_an_id.s("too", "many"),
    ]
    called = [
        "bound, named",
        "bound, nothing",
        "error, given",
        "error, named",
        "id, given",
        "id, named",
        "id, nothing",
    ]
    for workflow in (stage.fail.s(), chord([stage.fail.s(), stage.add.s(1)], stage.total.s())):
        heard.calls.clear()
        for errback in errbacks:
            workflow.link_error(errback)
        with pytest.raises((ValueError, ChordError)):
            workflow.delay().get(timeout=WAIT)
        heard.wait(len(called))
        until(stage.settled)
        assert sorted(how for how, _ in heard.calls) == called


def test_CAN_5_what_is_linked_to_a_chain_hears_each_value_of_its_last_group(stage: Stage) -> None:
    @stage.app.task(name="note_value")
    def note_value(value: int) -> None:
        stage.heard.note(str(value), RuntimeError())

    workflow = stage.add.s(1) | group(stage.add.s(1), group(stage.add.s(2) | stage.add.s(3)))
    assert workflow.apply_async(link=note_value.s()).get(timeout=WAIT) == [2, 6]
    assert sorted(value for value, _ in stage.heard.wait(2)) == ["2", "6"]


KILLED = """
import os, signal
from pathlib import Path
from celeriac import Celery

app = Celery("killed", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_BROKER_URL"])

@app.task
def one():
    return 1

@app.task
def listed(values):
    return values

@app.task
def die():
    os.kill(os.getpid(), signal.SIGKILL)

@app.task
def die_once(mark):
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2
"""


# --- what is purged ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [None, 3600], ids=["ready", "delayed"])
def test_a_chord_whose_member_is_purged_fails_once(stage: Stage, delay: float | None) -> None:
    add = stage.add
    purged = add.s(1).set(queue="nobody", countdown=delay) | add.s(1)
    result = chord([purged, add.s(2)], stage.total.s().on_error(stage.hear.s())).delay()
    assert stage.app.purge(["nobody"]) == 1
    with pytest.raises(ChordError, match="purged"):
        result.get(timeout=WAIT)
    assert [task_id for task_id, _ in stage.heard.wait()] == [result.id]
    assert result.parent.results[0].state == "REVOKED"
    assert stage.app.purge(["nobody"]) == 0
    assert "nobody" not in stage.app.broker.queues()
