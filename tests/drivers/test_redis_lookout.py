"""The lookout of a fleet on Redis: what it says while nothing happens, and what it makes of silence."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Callable
from contextlib import closing

import pytest
import redis
from redis import Redis

from celeriac.drivers import opening
from celeriac.exceptions import OperationalError
from celeriac.message import Binding, Message
from celeriac.ports import Lookout
from proxy import Proxy
from services import RedisServer

LONG = 10.0


def test_a_look_at_quiet_queues_is_one_request(redis_db: str) -> None:
    with Redis.from_url(redis_db) as server:
        broker = opening.open_broker(redis_db)
        broker.consume(["celery", "mail", "video"])
        lookout = broker.lookout("node")
        assert lookout is not None
        keep_looking(lookout, lambda: lookout.look() > 1.0)
        before = reads(server)
        for _ in range(3):
            lookout._next = 0.0  # type: ignore[attr-defined]
            lookout.look()
        # One for each look, and the question itself.
        assert reads(server) - before == 4
        lookout.close()
        broker.close()


def test_a_stock_message_is_rung_for_and_only_its_queue_is_read(redis_db: str) -> None:
    with Redis.from_url(redis_db) as server:
        broker = opening.open_broker(redis_db)
        broker.consume(["celery", "mail"])
        lookout = broker.lookout("node")
        assert lookout is not None
        keep_looking(lookout, lambda: lookout.look() > 1.0)
        server.lpush("celery", "the first one, for which the script must be loaded")
        keep_looking(lookout, lambda: server.llen("celeriac:bell:celery") == 1)
        looked = calls(server, "evalsha")
        server.lpush("mail", "a stock message")
        keep_looking(lookout, lambda: server.llen("celeriac:bell:mail") == 1)
        assert server.llen("celeriac:bell:celery") == 1
        assert calls(server, "evalsha") - looked == 1, "it rang, and did not look at everything"
        lookout.close()
        broker.close()


def test_a_stock_message_is_rung_for_as_soon_as_the_notice_has_come(redis_db: str) -> None:
    with Redis.from_url(redis_db) as server, closing(opening.open_broker(redis_db)) as broker:
        broker.consume(["celery"])
        lookout = broker.lookout("node")
        assert lookout is not None
        with closing(lookout):
            keep_looking(lookout, lambda: lookout.look() > 1.0)
            server.lpush("celery", "a stock message")
            select.select([lookout.fileno()], [], [], LONG)
            lookout.look()
            assert server.llen("celeriac:bell:celery") == 1


def test_a_message_that_is_delayed_beside_one_that_is_not_is_known_at_once(redis_db: str) -> None:
    broker = opening.open_broker(redis_db)
    broker.consume(["celery"])
    lookout = broker.lookout("node")
    assert lookout is not None
    keep_looking(lookout, lambda: lookout.look() > 1.0)
    broker.publish(
        [Message("now", "celery", b"{}"), Message("later", "celery", b"{}", eta=time.time() + 0.9)]
    )
    select.select([lookout.fileno()], [], [], LONG)
    lookout.look()
    time.sleep(0.01)  # it looks a moment after the notice, see PATIENCE
    assert lookout.look() <= 0.9
    lookout.close()
    broker.close()


def test_a_connection_that_fell_silent_is_found_out_though_nobody_was_told(redis_server: RedisServer) -> None:
    with Proxy(redis_server.port) as proxy:
        broker = opening.open_broker(f"redis://127.0.0.1:{proxy.port}/0")
        broker.consume(["celery"])
        distrusted: list[float] = []
        lookout = broker.lookout("node", lambda: distrusted.append(time.monotonic()))
        assert lookout is not None
        keep_looking(lookout, lambda: lookout.look() > 1.0)
        proxy.swallow()
        proxy.pass_on(forget=True)
        began = time.monotonic()
        keep_looking(lookout, lambda: bool(distrusted))
        assert distrusted[0] - began < 4.5
        broker.publish([Message("a", "celery", b"{}")])
        lookout.close()
        broker.close()


def test_a_lookout_of_a_short_lease_leaves_time_to_renew_it_though_its_connection_is_dead(
    redis_server: RedisServer,
) -> None:
    lease = 2.0
    with Proxy(redis_server.port) as proxy, closing(opening.open_broker(proxy.url)) as broker:
        broker.consume(["celery"])
        distrusted: list[str] = []
        lookout = broker.lookout("node", lambda: distrusted.append("all"))
        assert lookout is not None
        with closing(lookout):
            keep_looking(lookout, lambda: lookout.look() > 1.0)
            broker.beat("node", lease)
            proxy.swallow()
            proxy.pass_on(forget=True)
            lookout._next = 0.0  # type: ignore[attr-defined]
            began = time.monotonic()
            lookout.look()
            assert distrusted == ["all"]
            broker.beat("node", lease)
            assert time.monotonic() - began < lease / 2


def test_a_store_that_is_away_holds_the_lookout_of_a_short_lease_for_an_eighth_of_it(
    redis_server: RedisServer,
) -> None:
    with Proxy(redis_server.port) as proxy, closing(opening.open_broker(proxy.url)) as broker:
        broker.consume(["celery"])
        lookout = broker.lookout("node")
        assert lookout is not None
        with closing(lookout):
            keep_looking(lookout, lambda: lookout.look() > 1.0)
            broker.beat("node", 2.0)
            proxy.swallow()
            proxy.reset()
            lookout._next = 0.0  # type: ignore[attr-defined]
            with pytest.raises(OperationalError):
                lookout.look()
            with pytest.raises(OperationalError, match=r"no reply within 0\.25 s"):
                lookout.look()
            proxy.pass_on()
            lookout.look()


def test_a_broadcast_that_cannot_be_stored_now_holds_nobody_up_and_is_stored_once_later(
    redis_server: RedisServer, redis_db: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis.from_url(redis_db) as server, closing(opening.open_broker(redis_db)) as broker:
        broker.consume(["mail"])
        broker.bind([Binding("news", "mail", "", "fanout")], 30.0)
        lookout = broker.lookout("node")
        assert lookout is not None
        with closing(lookout):
            keep_looking(lookout, lambda: lookout.look() > 1.0)
            broker.beat("node", 2.0)
            server.publish(f"/{redis_db.rpartition('/')[2]}.news", b"{}")
            lookout._next = time.monotonic() + LONG  # type: ignore[attr-defined]
            redis_server.command(f"CLIENT PAUSE {int(LONG * 1000)} WRITE")
            try:
                keep_looking(lookout, lambda: bool(caplog.records))
            finally:
                redis_server.command("CLIENT UNPAUSE")
            assert re.search(r"no reply within 0\.[01]\d* s", caplog.text)
            keep_looking(lookout, lambda: server.llen("mail") > 0)
            lookout.look()
            assert server.lrange("mail", 0, -1) == [b"{}"]


def keep_looking(lookout: Lookout, until: Callable[[], bool]) -> None:
    """As a worker does, for as long as it takes."""
    deadline = time.monotonic() + LONG
    while not until():
        assert time.monotonic() < deadline
        pause = lookout.look()
        listening = lookout.fileno()
        select.select([] if listening is None else [listening], [], [], min(pause, 0.1))


def reads(server: redis.Redis) -> int:
    return int(server.info("stats")["total_reads_processed"])


def calls(server: redis.Redis, command: str) -> int:
    found = server.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})
    return int(found["calls"])
