"""What is the Redis driver's own; what all drivers must do is in test_conformance.py."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest
import redis

from celeriac.drivers import opening
from celeriac.drivers.redis.connection import ServerError
from celeriac.drivers.redis.settling import Registered
from celeriac.exceptions import Fenced, OperationalError
from celeriac.message import Claim, Count, Depth, Fate, Members, Message, Outcome, Result
from celeriac.ports import Broker
from proxy import Proxy
from services import RedisServer
from stand import until


@pytest.fixture
def without_sort(redis_server: RedisServer, redis_db: str) -> Iterator[str]:
    """The address of a server that forbids SORT, as some who rent one out do."""
    redis_server.command("ACL SETUSER tenant on >secret ~* &* +@all -sort")
    yield redis_db.replace("redis://", "redis://tenant:secret@")
    redis_server.command("ACL DELUSER tenant")


def three(broker: Broker) -> list[Claim]:
    broker.publish([Message(name, "q", name.encode()) for name in ("a", "b", "c")])
    broker.consume(["q"])
    broker.enlist("owner", "node", 30)
    return broker.turn("owner", (), 10)


def test_without_sort_messages_become_claims_on_the_long_way(without_sort: str) -> None:
    with closing(opening.open_broker(without_sort, None)) as broker:
        a, b, c = three(broker)
        assert [a.payload, b.payload, c.payload] == [b"a", b"b", b"c"]
        broker.turn("owner", [Outcome(b.number), Outcome(c.number, Fate.GIVEN_BACK)], 0)
        assert [claim.payload for claim in broker.held("owner")] == [b"a"]
        assert broker.depth(["q"])["q"] == Depth(ready=1, claimed=1)


def test_a_batch_that_is_settled_leaves_nothing_behind(redis_server: RedisServer, redis_db: str) -> None:
    with closing(opening.open_broker(redis_db, None)) as broker:
        a, b, c = three(broker)
        broker.turn("owner", [Outcome(b.number, Fate.BEGUN), Outcome(c.number)], 0)
        assert redis_server.command("EXISTS celeriac:batch:owner:1") == ":1"
        broker.turn("owner", [Outcome(a.number), Outcome(b.number)], 0)
        assert redis_server.command("EXISTS celeriac:batch:owner:1") == ":0"
        assert redis_server.command("HLEN celeriac:claims:owner") == ":1"


def test_who_sends_and_claims_a_message_in_one_turn_wakes_nobody(
    redis_server: RedisServer, redis_db: str
) -> None:
    with closing(opening.open_broker(redis_db, None)) as broker:
        a, _, _ = three(broker)
        broker.turn("owner", (), 1)  # the queue is empty: what was in its bell is gone
        follow_up = Outcome(a.number, follow_ups=(Message("next", "q", b"next"),))
        assert [claim.payload for claim in broker.turn("owner", [follow_up], 1)] == [b"next"]
        assert redis_server.command("EXISTS celeriac:bell:q") == ":0"
        broker.turn("owner", [msgspec.structs.replace(follow_up, number=2)], 0)
        assert redis_server.command("LLEN celeriac:bell:q") == ":1"


def test_one_outcome_may_count_more_members_than_lua_can_spread(redis_db: str) -> None:
    size = 9000
    with closing(opening.open_broker(redis_db, None)) as broker:
        a, _, _ = three(broker)
        body = (Message("body", "q", b"body"),)
        counts = tuple(
            Count("chord", str(n), "root", n, size, b'[1, "%d", "SUCCESS", 1]' % n, body) for n in range(size)
        )
        (claim,) = broker.turn("owner", [Outcome(a.number, counts=counts)], 1)
        assert claim.payload == b"body"


def test_a_node_of_a_short_lease_beats_in_time_though_its_connection_is_dead(
    redis_server: RedisServer,
) -> None:
    lease = 6.0
    with Proxy(redis_server.port) as proxy, closing(opening.open_broker(proxy.url, None)) as broker:
        broker.beat("node", lease)
        began = time.monotonic()
        proxy.swallow()
        proxy.pass_on(forget=True)
        with pytest.raises(OperationalError, match=r"no reply within 1\.5 s"):
            broker.beat("node", lease)
        broker.beat("node", lease)
        assert time.monotonic() - began < lease


def test_an_owner_is_refused_by_a_redis_that_is_older_than_its_answers(
    redis_server: RedisServer, redis_db: str
) -> None:
    with closing(opening.open_broker(redis_db, None)) as broker:
        a, b, _ = three(broker)
        broker.turn("owner", [Outcome(a.number), Outcome(b.number)], 0)
        redis_server.command("HSET celeriac:claims:owner s 0")
        with pytest.raises(Fenced):
            broker.turn("owner", (), 1)


def test_a_silent_store_of_results_holds_a_node_for_an_eighth_of_its_lease(
    redis_server: RedisServer, redis_db: str
) -> None:
    with Proxy(redis_server.port) as proxy, closing(opening.open_broker(redis_db, proxy.url)) as broker:
        broker.beat("node", 2.0)
        a, *_ = three(broker)
        saved = Outcome(a.number, result=Result("a", b"the result"))
        proxy.swallow()
        with pytest.raises(OperationalError, match=r"no reply within 0\.25 s"):
            broker.turn("owner", [saved], 0)
        proxy.pass_on(forget=True)
        assert broker.turn("owner", [saved], 0) == []
        assert broker.depth(["q"])["q"] == Depth(claimed=2)


def test_after_a_failover_that_cuts_no_connection_all_goes_to_the_new_master(
    redis_server: RedisServer, redis_db: str, own_redis: RedisServer
) -> None:
    with (
        Proxy(own_redis.port) as name,
        closing(opening.open_broker(name.url, None)) as broker,
        closing(opening.open_broker(redis_db, None)) as new,
        closing(redis.Redis(port=own_redis.port)) as old,
    ):
        broker.publish([Message("replicated", "q", b"replicated")])
        broker.consume(["q"])
        for store in (broker, new):
            store.enlist("owner", "node", 30)
        broker.beat("node", 30)
        broker.turn("owner", (), 0)
        redis_server.command("HSET celeriac:claims:owner s 1")
        own_redis.command("REPLICAOF 127.0.0.1 1")
        name.server_port = redis_server.port
        # Of several commands, each of which is refused.
        broker.publish([Message("a", "q", b"a", members=(Members("chord", 2),))])
        broker.publish([Message("b", "q", b"b")])
        for refused in (lambda: broker.turn("owner", (), 2), lambda: broker.beat("node", 30)):
            with pytest.raises(OperationalError, match="READONLY"):
                refused()
        assert [claim.payload for claim in broker.turn("owner", (), 2)] == [b"a", b"b"]
        broker.beat("node", 30)
        until(lambda: old.info("clients")["connected_clients"] == 1, what="nobody but us is there any more")


def test_a_redis_that_is_crowded_says_so_and_is_tried_again(own_redis: RedisServer) -> None:
    url = own_redis.url.removesuffix("0") + "3"  # a database of its own is one word more at the door
    with (
        closing(redis.Redis(port=own_redis.port)) as crowd,
        closing(opening.open_broker(url, None)) as broker,
    ):
        crowd.config_set("maxclients", 1)
        with pytest.raises(OperationalError, match="refused the connection: ERR max number of clients") as no:
            broker.depth(["q"])
        assert not isinstance(no.value, ServerError)
        crowd.config_set("maxclients", 100)
        assert broker.depth(["q"])["q"] == Depth()


def test_a_turn_waits_once_for_a_store_that_does_not_answer_what_queues_it_knows() -> None:
    def note(queue: str) -> None:
        asked.append(queue)
        if len(asked) == 2:
            raise OperationalError("no reply within 3 s")

    asked: list[str] = []
    registered = Registered(note)
    assert [registered[queue] for queue in "abcda"] == [*"abcda"]
    assert asked == ["a", "b"]
    assert registered == {"a": "a"}


class Interruption(Exception):
    """What a signal's handler raises in the middle of anything, as for a soft time limit."""


def interrupted(use: Callable[[], object]) -> None:
    def interrupt(*_: Any) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    with pytest.raises(Interruption):
        use()
    signal.signal(signal.SIGALRM, before)


def test_who_was_interrupted_while_he_waited_for_a_reply_takes_no_later_one_for_it(
    redis_server: RedisServer, redis_db: str
) -> None:
    with (
        Proxy(redis_server.port) as proxy,
        closing(opening.open_broker(proxy.url, None)) as broker,
        closing(opening.open_bus(proxy.url)) as bus,
        closing(opening.open_schedules(proxy.url, "group")) as schedules,
    ):
        three(broker)
        listening = bus.listen(["topic"])
        assert (bus.say("topic", b"1"), schedules.leader()) == (1, "")
        proxy.swallow()
        for use in (broker.paused, lambda: bus.say("nobody", b"2"), schedules.plans):
            interrupted(use)
        proxy.pass_on()
        assert broker.depth(["q"])["q"] == Depth(claimed=3)
        assert (bus.say("topic", b"3"), schedules.leader()) == (1, "")
        listening.close()
