"""What an idle child on Redis has in hand while it stands at its bell: the turn that will claim."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress

import pytest
from redis import Redis

from celeriac.drivers import opening
from celeriac.drivers.memory.results import MemoryResults
from celeriac.drivers.memory.store import MemoryStore
from celeriac.drivers.paired import Paired
from celeriac.drivers.redis.address import parse
from celeriac.drivers.redis.bell import Bell
from celeriac.drivers.redis.broker import RedisBroker
from celeriac.drivers.redis.connection import Connection, pack
from celeriac.drivers.redis.keys import Keys
from celeriac.exceptions import OperationalError
from celeriac.message import Claim, Depth, Message, Outcome, Result
from celeriac.ports import Broker
from proxy import Proxy
from services import RedisServer
from stand import until

PATIENCE = 20.0


@pytest.fixture
def others(redis_db: str) -> Iterator[Broker]:
    """Everybody else: sends, and has a worker of its own."""
    with closing(opening.open_broker(redis_db, None)) as broker:
        yield broker


@pytest.fixture
def child(redis_db: str) -> Iterator[RedisBroker]:
    with closing(opening.open_broker(redis_db, None)) as broker:
        assert isinstance(broker, RedisBroker)
        broker.consume(["q"])
        broker.enlist("owner", "node", 30)
        yield broker


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def message(name: str) -> Message:
    return Message(name, "q", name.encode())


def payloads(claims: list[Claim]) -> list[bytes]:
    return [claim.payload for claim in claims]


def stands(server: RedisServer, thread: ThreadPoolExecutor, child: Broker) -> Future[list[Claim]]:
    """The child's turn, which waits at the bell."""
    turn = thread.submit(child.turn, "owner", (), 1, PATIENCE)
    until(lambda: blocked(server) == 1, what="somebody at the bell")
    return turn


def again(child: Broker) -> list[Claim]:
    """A turn, of which the first may find that its connection broke too."""
    try:
        return child.turn("owner", (), 1)
    except OperationalError:
        return child.turn("owner", (), 1)


@pytest.mark.parametrize("ahead", [60.0, -60.0])
def test_a_clock_that_is_not_the_stores_makes_nobody_look_in_vain_or_too_late(
    redis_db: str, child: Broker, others: Broker, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    others.publish([Message("later", "q", b"later", eta=time.time() + 0.3)])
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + ahead)
    began = time.monotonic()
    with Redis.from_url(redis_db) as server:
        before = server.info("stats")["total_commands_processed"]
        assert payloads(child.turn("owner", (), 1, PATIENCE)) == [b"later"]
        assert time.monotonic() - began < PATIENCE / 2
        assert server.info("stats")["total_commands_processed"] - before < 50
    others.publish([Message("next", "q", b"next", eta=true_time() + PATIENCE)])
    others.consume(["q"])
    lookout = others.lookout("node")
    assert lookout is not None
    with closing(lookout):
        until(lambda: lookout.look() > 1.0, 5.0, "a quiet lookout")


def blocked(server: RedisServer) -> int:
    with closing(Redis.from_url(server.url)) as client:
        return int(client.info("clients")["blocked_clients"])


def turns(server: RedisServer) -> int:
    with closing(Redis.from_url(server.url)) as client:
        return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])


def test_the_claim_comes_with_the_bell(
    redis_server: RedisServer, others: Broker, child: Broker, thread: ThreadPoolExecutor
) -> None:
    for name in ("known", "used"):  # now Redis has all scripts
        others.publish([message(name)])
        (known,) = child.turn("owner", (), 1)
        child.turn("owner", [Outcome(known.number)], 0)
    turn = stands(redis_server, thread, child)
    before = turns(redis_server)
    others.publish([message("a")])
    assert payloads(turn.result(PATIENCE)) == [b"a"]
    assert turns(redis_server) - before == 2  # it was sent, and it was claimed
    assert blocked(redis_server) == 0


def test_who_is_called_away_gets_what_came_meanwhile(
    redis_server: RedisServer, others: Broker, child: Broker, thread: ThreadPoolExecutor
) -> None:
    turn = stands(redis_server, thread, child)
    child.wake()
    assert turn.result(PATIENCE) == []
    # It still stands there, and nobody listens.
    others.publish([message("a")])
    until(lambda: others.depth(["q"])["q"] == Depth(claimed=1), what="a claim")
    (claim,) = child.turn("owner", (), 0)
    assert claim.payload == b"a"
    child.turn("owner", [Outcome(claim.number)], 0)
    assert others.depth(["q"])["q"] == Depth()


def test_who_is_called_away_and_gets_nothing_has_asked_enough(
    redis_server: RedisServer, child: Broker, thread: ThreadPoolExecutor
) -> None:
    child.turn("owner", (), 1)  # now Redis has the script
    turn = stands(redis_server, thread, child)
    child.wake()
    assert turn.result(PATIENCE) == []
    before = turns(redis_server)
    assert child.turn("owner", (), 1) == []
    assert turns(redis_server) - before == 1  # the one that it had in hand


def test_what_it_claimed_for_a_child_that_leaves_goes_back(
    redis_server: RedisServer, others: Broker, child: Broker, thread: ThreadPoolExecutor
) -> None:
    turn = stands(redis_server, thread, child)
    child.wake()
    turn.result(PATIENCE)
    others.publish([message("a")])
    until(lambda: others.depth(["q"])["q"] == Depth(claimed=1), what="a claim")
    child.dismiss("owner")
    assert others.depth(["q"])["q"] == Depth(ready=1)


def test_a_claim_whose_reply_the_wire_lost_is_told_again(
    redis_server: RedisServer, redis_db: str, others: Broker, thread: ThreadPoolExecutor
) -> None:
    with Proxy(redis_server.port) as proxy:
        address = redis_db.replace(str(redis_server.port), str(proxy.port))
        with closing(opening.open_broker(address, None)) as child:
            child.consume(["q"])
            child.enlist("owner", "node", 30)
            turn = stands(redis_server, thread, child)
            proxy.swallow()
            others.publish([message("a"), message("b")])
            until(lambda: others.depth(["q"])["q"] == Depth(ready=1, claimed=1), what="a claim")
            proxy.reset()
            with pytest.raises(OperationalError):
                turn.result(PATIENCE)
            proxy.restore()
            (claim,) = again(child)
            assert claim.payload == b"a"
            assert payloads(child.turn("owner", [Outcome(claim.number)], 1)) == [b"b"]
            assert others.depth(["q"])["q"] == Depth(claimed=1)


class AwayOnce(MemoryResults):
    """Results in another store, which cannot be reached when they are saved for the second time."""

    saves = 0

    def save(self, results: Sequence[Result]) -> None:
        self.saves += 1
        if self.saves == 2:
            raise OperationalError("the result store is away")
        super().save(results)


def test_a_claim_whose_reply_the_wire_lost_is_told_again_also_where_results_are_elsewhere(
    redis_server: RedisServer, redis_db: str, others: Broker, thread: ThreadPoolExecutor
) -> None:
    with Proxy(redis_server.port) as proxy:
        address = redis_db.replace(str(redis_server.port), str(proxy.port))
        with closing(Paired(opening.open_broker(address, None), AwayOnce(MemoryStore()))) as child:
            child.consume(["q"])
            child.enlist("owner", "node", 30)
            others.publish([message("a")])
            (first,) = child.turn("owner", (), 1)
            ended = [Outcome(first.number, result=Result("a", b"done"))]
            turn = thread.submit(child.turn, "owner", ended, 1, PATIENCE)
            until(lambda: blocked(redis_server) == 1, what="the child at the bell")
            proxy.swallow()
            others.publish([message("b")])
            until(lambda: others.depth(["q"])["q"] == Depth(claimed=1), what="a claim")
            proxy.reset()
            with pytest.raises(OperationalError):
                turn.result(PATIENCE)
            proxy.restore()
            claims: list[Claim] = []
            for _ in range(4):  # the other connection broke too, and then the results are away
                with suppress(OperationalError):
                    claims += child.turn("owner", ended, 1)
            assert payloads(claims) == [b"b"]
            assert others.depth(["q"])["q"] == Depth(claimed=1)


def test_a_turn_that_nobody_waits_for_any_more_claims_nothing(
    redis_server: RedisServer, others: Broker, child: RedisBroker
) -> None:
    """The child has given up a silent connection, and gone on; for Redis that one is as good as ever."""
    silent = Connection(parse(redis_server.url), connect_timeout=5.0, timeout=PATIENCE)
    turns = child._turns
    given_up = turns._next_turn(turns._known("owner"), (), 1, at_the_bell=True)
    silent.send(pack("BLPOP", "celeriac:bell:q", 0) + given_up.packed)
    until(lambda: blocked(redis_server) == 1, what="the silent connection at the bell")
    assert child.turn("owner", (), 1) == child.turn("owner", (), 1) == []
    others.publish([message("a")])
    assert silent.read() == [b"celeriac:bell:q", b"1"]
    assert silent.read() is None
    assert others.depth(["q"])["q"] == Depth(ready=1)
    assert payloads(child.turn("owner", (), 1)) == [b"a"]
    silent.close()


def test_a_node_that_has_not_been_heard_of_claims_nothing_at_its_bell(
    redis_server: RedisServer, redis_db: str, others: Broker, child: Broker, thread: ThreadPoolExecutor
) -> None:
    others.consume(["q"])
    others.enlist("other", "another node", 30)
    turn = stands(redis_server, thread, child)
    child.wake()
    turn.result(PATIENCE)
    soon = int(time.time() * 1000) + 10_000
    redis_server.command(f"ZADD celeriac:nodes {soon} node")
    with ThreadPoolExecutor(1) as second:
        waiting = second.submit(others.turn, "other", (), 1, PATIENCE)
        until(lambda: blocked(redis_server) == 2, what="two at the bell")
        with closing(opening.open_broker(redis_db, None)) as sender:
            sender.publish([message("a")])
        assert payloads(waiting.result(PATIENCE)) == [b"a"]
    # Whoever is asked, and not by a bell, lives.
    assert child.turn("owner", (), 1) == []


def test_a_child_is_called_off_before_redis_has_heard_that_it_stands(redis_server: RedisServer) -> None:
    with Proxy(redis_server.port) as proxy:
        main = Connection(parse(redis_server.url), connect_timeout=5.0, timeout=5.0)
        late = Connection(parse(proxy.url), connect_timeout=5.0, timeout=5.0)
        late.open()
        proxy.delay = 0.2
        bell = Bell(lambda: late, Keys(), main)
        bell.listen(["celery"])
        bell.stand()
        began = time.monotonic()
        assert bell.leave() == []
        assert time.monotonic() - began < 3.0
        assert late.is_open
        bell.close()
        main.close()


def test_nobody_is_called_off_while_writes_are_paused_for_that_ends_an_older_redis() -> None:
    """As in every failover in order: a child stands just then, and leaves."""
    with RedisServer() as server:
        address = parse(server.url)
        main, own = (Connection(address, connect_timeout=4, timeout=PATIENCE) for _ in range(2))
        with closing(main), closing(Bell(lambda: own, Keys(), main)) as bell:
            bell.listen(["q"])
            bell.stand()
            assert bell.leave() == []
            server.command("CLIENT PAUSE 300 WRITE")
            bell.stand(pack("PING"), 1)
            assert bell.leave() == [b"PONG"]
            assert server.command("PING") == "+PONG"
