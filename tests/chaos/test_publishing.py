"""Row 8: a broker that is dead, silent or full is told within the time limit, and is published to once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from celeriac import Celery
from celeriac.drivers.opening import Options, open_broker
from celeriac.exceptions import OperationalError
from celeriac.message import Members, Message
from chaos.stage import Opened, RedisStore, Stage, until
from proxy import Cut, Proxy

#: What publish_timeout is by default, and what a loaded machine may add to it.
LIMIT, SLACK = 5.0, 5.0


@pytest.fixture
def stage(opened: Opened) -> Stage:
    return opened("redis")


def redis_of(stage: Stage) -> RedisStore:
    assert isinstance(stage.store, RedisStore)
    return stage.store


def test_delay_and_adelay_raise_within_the_time_limit_when_the_broker_is_gone_or_silent(stage: Stage) -> None:
    url, proxy = stage.store.workers_url, redis_of(stage).proxy
    app = stage.app(url)

    @app.task
    def task() -> None: ...

    async def call() -> None:
        await task.adelay()

    task.delay()  # so that there is a connection that the silence can meet
    fresh = Celery("fresh", broker=url, set_as_current=False)

    @fresh.task
    def other() -> None: ...

    calls: list[Callable[[], object]] = [task.delay, lambda: asyncio.run(call()), other.delay]
    proxy.swallow()
    for seconds, error in at_once(calls):
        assert seconds <= LIMIT + SLACK
        assert "within" in str(error)
        assert error.__cause__ is not None
    proxy.refuse()
    for seconds, error in at_once(calls):
        assert seconds <= LIMIT + SLACK
        assert "Connection refused" in str(error)
        assert str(proxy.port) in str(error)
    fresh.close()


def at_once(calls: list[Callable[[], object]]) -> list[tuple[float, OperationalError]]:
    """Each call on a thread of its own: how long it took, and the error that it raised."""
    told: list[tuple[float, OperationalError]] = []

    def run(call: Callable[[], object]) -> None:
        began = time.monotonic()
        try:
            call()
        except OperationalError as error:
            told.append((time.monotonic() - began, error))

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT + 10)
    assert len(told) == len(calls)
    return told


def test_a_silent_connection_is_given_up_for_a_new_one_within_the_time_limit(stage: Stage) -> None:
    url, proxy = stage.store.workers_url, redis_of(stage).proxy
    stage.send("first", url=url)
    proxy.swallow()
    proxy.pass_on(forget=True)
    began = time.monotonic()
    stage.send("second", url=url)
    assert time.monotonic() - began < LIMIT
    assert stage.check_the_law().depth.ready == 2


def test_a_publish_that_was_done_unheard_and_is_tried_again_is_stored_once(stage: Stage) -> None:
    url, proxy = stage.store.workers_url, redis_of(stage).proxy
    proxy.cut_replies(0.5, seed=8)
    tries = [stage.send_surely(f"t{number}", url=url) for number in range(5)]
    tries += [stage.send_surely(f"d{number}", url=url, countdown=60) for number in range(2)]
    proxy.cut_replies(0.0)
    assert max(tries) > 1, "some were raised to the caller, who sent them again"
    depth = stage.check_the_law().depth
    assert (depth.ready, depth.delayed) == (5, 2)


def test_a_publish_that_arrives_late_after_its_caller_sent_it_again_is_stored_once(stage: Stage) -> None:
    url, proxy = stage.store.workers_url, redis_of(stage).proxy
    stage.app(url).conf.publish_timeout = 0.5
    stage.send("first", url=url)
    proxy.swallow()
    with pytest.raises(OperationalError):
        stage.send("late", url=url)
    proxy.pass_on()  # what was under way arrives now
    stage.send("late", url=url)
    assert stage.check_the_law().depth.ready == 2


def test_workers_drain_a_full_redis_whose_producers_are_refused_with_one_clear_error(stage: Stage) -> None:
    server = redis_of(stage).server
    for number in range(500):
        stage.send(f"t{number}")
    for number in range(20):
        stage.send(f"d{number}", countdown=1.0)
    assert server.command("CONFIG", "SET", "maxmemory", "1mb") == "+OK"
    assert server.command("SCRIPT", "FLUSH") == "+OK"
    with pytest.raises(OperationalError, match="OOM command not allowed"):
        stage.send("refused")
    stage.doubtful.clear()
    worker = stage.start_worker("-c", "2")
    stage.wait_until_done(20)
    stage.check_all_ran()
    assert "lease of this node cannot be renewed" not in worker.output
    assert server.command("CONFIG", "SET", "maxmemory", "0") == "+OK"
    stage.send("welcome")
    until(lambda: stage.check_the_law().depth.claimed == 0 and "welcome" in stage.done, "it goes on")


@pytest.mark.parametrize(
    ("policy", "words"),
    [("allkeys-lru", "messages"), ("volatile-lru", "results"), ("noeviction", None)],
)
def test_a_worker_warns_at_its_start_of_a_redis_that_may_throw_things_away(
    opened: Opened, policy: str, words: str | None
) -> None:
    stage = opened("redis", "--maxmemory", "100mb", "--maxmemory-policy", policy)
    worker = stage.start_worker("-c", "1")
    stage.send("t1")
    stage.wait_until_done(10)
    if words is None:
        assert "maxmemory-policy" not in worker.output
    else:
        worker.wait_for_line(rf"WARNING.*maxmemory-policy.*{policy}.*{words}")


def test_many_messages_of_which_the_last_part_failed_are_stored_once_when_sent_again(stage: Stage) -> None:
    messages = [Message(f"m{number}", "celery", b"<%d>" % number) for number in range(2500)]
    with Proxy(redis_of(stage).server.port) as wire:
        broker = open_broker(wire.url, None, Options(publish_timeout=1.0))
        broker.publish([Message("first", "celery", b"{}")])
        # The third part is done, and neither its answer nor that of any further try arrives.
        for _ in range(4):
            wire.break_at(Cut.BEFORE_REPLY, b"<2200>")
        with pytest.raises(OperationalError):
            broker.publish(messages)
        assert broker.depth(["celery"])["celery"].ready == 2501
        broker.publish(messages)
        broker.publish([Message("last", "celery", b"{}")])
        assert broker.depth(["celery"])["celery"].ready == 2502
        broker.close()


def test_a_publish_that_failed_before_it_was_said_is_not_taken_for_one_that_was(stage: Stage) -> None:
    chord = Message("chord", "celery", b"<chord>", members=(Members("count", 2, 60.0),))
    with Proxy(redis_of(stage).server.port) as wire:
        broker = open_broker(wire.url, None, Options(publish_timeout=1.0))
        broker.publish([Message("first", "celery", b"{}")])
        for _ in range(4):
            wire.break_at(Cut.BEFORE_REQUEST, b"\r\nSET\r\n")
        with pytest.raises(OperationalError):
            broker.publish([chord])
        broker.publish([chord])
        assert broker.depth(["celery"])["celery"].ready == 2
        broker.close()


def test_many_calls_are_stored_once_and_in_their_order_over_a_wire_that_breaks(stage: Stage) -> None:
    with Proxy(redis_of(stage).server.port) as wire:
        broker = open_broker(wire.url)
        broker.publish([Message("first", "celery", b"<first>")])
        batches = [
            [Message(f"m{n}", "celery", b"<%d.>" % n) for n in range(at, at + 10)] for at in range(0, 50, 10)
        ]
        # The second batch never arrives, the fourth is done without an answer, while the next ones are made.
        wire.break_at(Cut.BEFORE_REQUEST, b"<15.>")
        wire.break_at(Cut.BEFORE_REPLY, b"<35.>")
        broker.publish_all(iter(batches))
        stored = broker.peek("celery", 100)
        assert stored == [b"<first>", *(b"<%d.>" % n for n in range(50))]
        broker.close()


def test_a_large_payload_has_longer_than_a_small_one(stage: Stage) -> None:
    server = redis_of(stage).server
    app = stage.app(server.url)
    app.conf.publish_timeout = 0.5
    large = Message("large", "celery", b"x" * 6 * 1024 * 1024)
    app.broker.publish([Message("first", "celery", b"{}")])
    before = int(server.command("CLIENT", "ID")[1:])
    # So long no command is served, as on a machine that has other things to do.
    assert server.command("CLIENT", "PAUSE", "1000", "ALL") == "+OK"
    app.broker.publish([large])
    assert int(server.command("CLIENT", "ID")[1:]) - before == 2, "ours; there was no second try"
    assert app.broker.depth(["celery"])["celery"].ready == 2
