"""What a user does with a task queue, in lines that are the same for celeriac and for stock Celery.

Each errand takes the app of a library and the queue of a worker of the other; it says with `assert` what the
user may rely on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from interop import shop
from interop.shop import s

#: Seconds that anything may take on a loaded machine.
PATIENCE = 20

ERRANDS: dict[str, Callable[[Any, str], None]] = {}


def errand(function: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    ERRANDS[function.__name__] = function
    return function


@errand
def arguments_and_options_arrive(app: Any, queue: str) -> None:
    seen = value_of(
        task(app, "look").apply_async(
            (1, "two"),
            {"three": [3]},
            queue=queue,
            task_id=f"own-id-{queue}-{time.time()}",
            headers={"tenant": "t1"},
            shadow="dark",
            time_limit=100,
            soft_time_limit=50.5,
            group_id="g",
            group_index=2,
            root_id="r",
            parent_id="p",
            reply_to="me",
            retries=1,
            priority=4,
            expires=3600,
        )
    )
    assert seen.pop("id").startswith("own-id-"), seen
    assert seen.pop("correlation_id").startswith("own-id-"), seen
    assert "@" in seen.pop("origin"), seen
    expires = datetime.fromisoformat(seen.pop("expires"))
    assert timedelta(seconds=3500) < expires - datetime.now(UTC) < timedelta(seconds=3700), expires
    assert seen == {
        "args": [1, "two"],
        "kwargs": {"three": [3]},
        "argsrepr": "(1, 'two')",
        "kwargsrepr": "{'three': [3]}",
        "tenant": "t1",
        "shadow": "dark",
        "timelimit": [100, 50.5],
        "group": "g",
        "group_index": 2,
        "root_id": "r",
        "parent_id": "p",
        "reply_to": "me",
        "retries": 1,
        "eta": None,
        "ignore_result": False,
        "stamps": {},
        "stamped_headers": None,
        "called_directly": False,
        "exchange": "",
        "routing_key": queue,
        "priority": 4,
    }, seen


@errand
def a_call_without_options_is_its_own_root(app: Any, queue: str) -> None:
    sent = task(app, "look").apply_async(queue=queue)
    seen = value_of(sent)
    assert (seen["id"], seen["root_id"], seen["parent_id"]) == (sent.id, sent.id, None), seen
    assert (seen["args"], seen["kwargs"], seen["timelimit"]) == ([], {}, [None, None]), seen


@errand
def every_priority_is_served(app: Any, queue: str) -> None:
    sent = {priority: task(app, "look").apply_async(queue=queue, priority=priority) for priority in range(10)}
    assert {priority: value_of(call)["priority"] for priority, call in sent.items()} == {
        priority: priority for priority in range(10)
    }


@errand
def a_task_is_sent_by_its_name(app: Any, queue: str) -> None:
    assert value_of(app.send_task("shop.add", (2,), {"y": 3}, queue=queue)) == 5


@errand
def rich_arguments_arrive_with_their_types(app: Any, queue: str) -> None:
    kwargs = {"whens": shop.RICH[:4]}
    seen = value_of(task(app, "describe").apply_async(tuple(shop.RICH), kwargs, queue=queue))
    assert seen == repr((tuple(shop.RICH), kwargs)), seen


@errand
def rich_results_come_back_with_their_types(app: Any, queue: str) -> None:
    seen = value_of(task(app, "rich").apply_async(queue=queue))
    assert repr(seen) == repr(shop.RICH), seen


@errand
def large_and_odd_texts_travel(app: Any, queue: str) -> None:
    texts = ["x" * 3_000_000, "", "\x00\x07 \N{GRINNING FACE} ž \\ \" ' \u2028", "\n" * 100]
    assert value_of(task(app, "echo").apply_async(texts, queue=queue)) == [texts, {}]


@errand
def numbers_at_the_edges_travel(app: Any, queue: str) -> None:
    numbers = [2**63, -(2**70), 1e308, 5e-324, -0.0, float("inf")]
    assert value_of(task(app, "echo").apply_async(numbers, queue=queue)) == [numbers, {}]


@errand
def a_countdown_is_kept(app: Any, queue: str) -> None:
    before = time.time()
    began = value_of(task(app, "began").apply_async(queue=queue, countdown=0.4))
    assert 0.39 < began - before < 0.4 + PATIENCE / 4, began - before


@errand
def an_eta_is_kept(app: Any, queue: str) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=0.4)
    naive, elsewhere = eta.replace(tzinfo=None), eta.astimezone()
    calls = [task(app, "began").apply_async(queue=queue, eta=moment) for moment in (eta, naive, elsewhere)]
    late = [value_of(call) - eta.timestamp() for call in calls]
    assert all(-0.01 < seconds < PATIENCE / 4 for seconds in late), late


@errand
def an_expired_call_is_revoked(app: Any, queue: str) -> None:
    calls = [
        task(app, "note").apply_async(("expired",), queue=queue, expires=expires)
        for expires in (shop.PAST, shop.PAST.replace(tzinfo=None))
    ]
    for call in calls:
        error = error_of(call)
        assert (type(error).__name__, error.args) == ("TaskRevokedError", ("expired",)), error
        assert (call.state, call.ready(), call.failed()) == ("REVOKED", True, False), call.state
    assert app.store.lrange("expired", 0, -1) == []


@errand
def a_call_that_has_not_expired_runs(app: Any, queue: str) -> None:
    for expires in (60, datetime.now(UTC) + timedelta(minutes=1)):
        assert value_of(task(app, "add").apply_async((1, 2), queue=queue, expires=expires)) == 3


@errand
def a_success_says_all_about_itself(app: Any, queue: str) -> None:
    before = datetime.now(UTC)
    call = task(app, "add").apply_async((1, 2), queue=queue)
    assert value_of(call) == 3
    again = app.AsyncResult(call.id)
    assert (again.state, again.status, again.result, again.traceback) == ("SUCCESS", "SUCCESS", 3, None)
    assert (again.ready(), again.successful(), again.failed()) == (True, True, False)
    assert before <= aware(again.date_done) <= datetime.now(UTC), again.date_done
    assert again.children == []


@errand
def a_failure_comes_back_as_its_class(app: Any, queue: str) -> None:
    call = task(app, "boom").apply_async(queue=queue)
    error = error_of(call)
    assert type(error) is ValueError, error
    assert error.args == ("no", 7), error.args
    assert (call.state, call.failed(), call.successful()) == ("FAILURE", True, False), call.state
    assert 'raise ValueError("no", 7)' in call.traceback, call.traceback
    assert call.traceback.startswith("Traceback (most recent call last):"), call.traceback
    assert call.get(propagate=False, timeout=PATIENCE).args == ("no", 7)
    assert type(error_of(task(app, "missing").apply_async(queue=queue))) is KeyError


@errand
def an_exception_of_ones_own_comes_back(app: Any, queue: str) -> None:
    error = error_of(task(app, "curious").apply_async(queue=queue))
    assert type(error) is shop.Curious, repr(error)
    assert error.args == (4, "there"), error.args


@errand
def a_result_that_cannot_be_stored_is_a_failure(app: Any, queue: str) -> None:
    call = task(app, "unencodable").apply_async(queue=queue)
    assert type(error_of(call)).__name__ == "EncodeError"
    assert call.state == "FAILURE"


@errand
def wrong_arguments_are_a_failure(app: Any, queue: str) -> None:
    assert type(error_of(app.send_task("shop.add", (1, 2, 3), queue=queue))) is TypeError


@errand
def a_retry_runs_again(app: Any, queue: str) -> None:
    assert value_of(task(app, "stubborn").apply_async((2,), queue=queue)) == 2


@errand
def too_many_retries_end_with_the_cause(app: Any, queue: str) -> None:
    error = error_of(task(app, "stubborn").apply_async((9,), queue=queue))
    assert type(error) is FileNotFoundError, error
    assert error.errno == 2, error


@errand
def a_retry_to_come_is_seen(app: Any, queue: str) -> None:
    call = task(app, "tomorrow").apply_async(queue=queue)
    wait_for(lambda: call.state == "RETRY")
    assert type(call.result) is FileNotFoundError, call.result
    assert not call.ready()
    assert "Retry in 86400s" in call.traceback, call.traceback


@errand
def a_custom_state_is_seen(app: Any, queue: str) -> None:
    call = task(app, "progress").apply_async(queue=queue)
    wait_for(lambda: call.state != "PENDING")
    assert (call.state, call.info) == ("PROGRESS", {"done": 3, "of": 4}), (call.state, call.info)
    assert not call.ready()
    app.store.rpush(f"go:{call.id}", "go")
    assert value_of(call) == "done"


@errand
def a_tracked_task_is_seen_to_have_started(app: Any, queue: str) -> None:
    call = task(app, "tracked").apply_async(queue=queue)
    wait_for(lambda: call.state != "PENDING")
    assert call.state == "STARTED", call.state
    assert set(call.info) == {"pid", "hostname"}, call.info
    app.store.rpush(f"go:{call.id}", "go")
    assert value_of(call) is None


@errand
def children_are_known(app: Any, queue: str) -> None:
    call = task(app, "parent").apply_async(queue=queue)
    child_id = value_of(call)
    (child,) = call.children
    assert child.id == child_id
    assert value_of(child) == 2


@errand
def results_are_forgotten(app: Any, queue: str) -> None:
    call = task(app, "add").apply_async((1, 2), queue=queue)
    value_of(call)
    call.forget()
    assert app.AsyncResult(call.id).state == "PENDING"


@errand
def a_waiting_caller_may_give_up(app: Any, queue: str) -> None:
    call = task(app, "progress").apply_async(queue=queue)
    error = error_of(call, timeout=0.1)
    assert type(error).__name__ == "TimeoutError", error
    app.store.rpush(f"go:{call.id}", "go")
    assert value_of(call) == "done"


@errand
def an_ignored_result_is_not_kept(app: Any, queue: str) -> None:
    ledger = f"ignored in {queue} {time.time()}"
    quiet = [
        task(app, "note_quietly").apply_async((ledger,), queue=queue),
        task(app, "note").apply_async((ledger,), queue=queue, ignore_result=True),
        app.send_task("shop.note_quietly", (ledger,), queue=queue),
    ]
    # Each worker here does one thing after the other.
    assert value_of(task(app, "add").apply_async((1, 1), queue=queue)) == 2
    assert app.store.llen(ledger) == 3
    assert [app.store.get(f"celery-task-meta-{call.id}") for call in quiet] == [None] * 3
    assert [call.get(timeout=1) for call in quiet[:2]] == [None] * 2


@errand
def a_callback_gets_the_value(app: Any, queue: str) -> None:
    ledger = f"linked in {queue} {time.time()}"
    after = task(app, "note").si(ledger, "after it").set(queue=queue)
    call = task(app, "add").apply_async((1, 2), queue=queue, link=s(app, "add", 10, queue=queue, link=after))
    assert value_of(call) == 3
    (child,) = app.AsyncResult(call.id).children
    assert value_of(child) == 13
    assert app.store.blpop([ledger], timeout=PATIENCE)[1] == "after it"


@errand
def several_callbacks_are_called(app: Any, queue: str) -> None:
    ledger = f"several in {queue} {time.time()}"
    callbacks = [s(app, "add", 10, queue=queue)]
    callbacks += [task(app, "note").si(ledger, word).set(queue=queue) for word in ("one", "two")]
    assert value_of(task(app, "add").apply_async((1, 2), queue=queue, link=callbacks)) == 3
    assert sorted(app.store.blpop([ledger], timeout=PATIENCE)[1] for _ in range(2)) == ["one", "two"]


@errand
def an_errback_hears_of_the_failure(app: Any, queue: str) -> None:
    for name in ("note_failure", "note_failed_id"):
        call = task(app, "boom").apply_async(queue=queue, link_error=s(app, name, queue=queue))
        assert type(error_of(call)) is ValueError
        heard = app.store.blpop([f"failed:{call.id}"], timeout=PATIENCE)
        assert heard is not None, f"nobody told {name}"
        assert heard[1] == {"note_failure": "ValueError('no', 7)", "note_failed_id": call.id}[name], heard


@errand
def a_chain_passes_the_value_on(app: Any, queue: str) -> None:
    steps = s(app, "add", 1, 1, queue=queue) | s(app, "add", 10, queue=queue)
    steps |= task(app, "look").s(queue="a keyword").set(queue=queue)
    last = steps.apply_async()
    seen = value_of(last)
    assert (seen["args"], seen["kwargs"]) == ([12], {"queue": "a keyword"}), seen
    first = last.parent.parent
    assert (seen["root_id"], seen["parent_id"]) == (first.id, last.parent.id), seen
    assert (value_of(last.parent), value_of(first), first.parent) == (12, 2, None)


@errand
def a_chain_stops_at_a_failure(app: Any, queue: str) -> None:
    ledger = f"after the failure in {queue} {time.time()}"
    steps = s(app, "add", 1, 1, queue=queue) | s(app, "boom", queue=queue)
    steps |= s(app, "note", ledger, queue=queue)
    steps.on_error(s(app, "note_failed_id", queue=queue))
    last = steps.apply_async()
    error = error_of(last)  # get() looks at the parents
    assert type(error) is ValueError, repr(error)
    assert last.parent.state == "FAILURE"
    assert app.store.blpop([f"failed:{last.parent.id}"], timeout=PATIENCE) is not None
    assert value_of(task(app, "add").apply_async((1, 1), queue=queue)) == 2
    assert not app.store.exists(ledger)


@errand
def a_failure_is_seen_at_the_end_of_its_chain(app: Any, queue: str) -> None:
    """Also by those who know the id of the last step alone."""
    steps = s(app, "boom", queue=queue) | s(app, "add", 1, queue=queue) | s(app, "add", 2, queue=queue)
    error = error_of(app.AsyncResult(steps.apply_async().id), timeout=2)
    assert type(error) is ValueError, repr(error)


@errand
def compressed_messages_are_read(app: Any, queue: str) -> None:
    for method in ("gzip", "bzip2", "zlib"):
        call = task(app, "echo").apply_async(("x" * 1000,), queue=queue, compression=method)
        assert value_of(call) == [["x" * 1000], {}], method


@errand
def stamps_arrive(app: Any, queue: str) -> None:
    seen = value_of(task(app, "look").apply_async(queue=queue, stamped_headers=["who"], who="me"))
    assert (seen["stamped_headers"], seen["stamps"]) == (["who"], {"who": "me"}), seen


@errand
def a_callback_after_stamps_runs(app: Any, queue: str) -> None:
    linked = task(app, "look").si().set(queue=queue, stamped_headers=["who"], who="me")
    call = task(app, "add").apply_async((1, 1), queue=queue, link=linked)
    assert value_of(call) == 2
    (child,) = app.AsyncResult(call.id).children
    assert value_of(child)["stamps"] == {"who": "me"}


# --- words that errands use -------------------------------------------------------------------------------


def task(app: Any, name: str) -> Any:
    return app.tasks["shop." + name]


def value_of(call: Any) -> Any:
    return call.get(timeout=PATIENCE)


def error_of(call: Any, timeout: float = PATIENCE) -> Exception:
    try:
        value = call.get(timeout=timeout)
    except Exception as error:
        return error
    raise AssertionError(f"no error, but {value!r}")


def aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.005)
