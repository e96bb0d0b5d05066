"""Waiting for results on Redis: who reads them, and how one finds out that the server is gone."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from celeriac.drivers import opening
from celeriac.drivers.redis import pulse
from celeriac.exceptions import OperationalError
from celeriac.message import Result
from celeriac.waiting import Waiting
from proxy import Proxy
from services import RedisServer


def readers() -> int:
    """How many threads read results for others."""
    return sum(thread.name == "celeriac-results" for thread in threading.enumerate())


def test_the_first_who_waits_reads_by_itself_and_the_second_lets_a_thread_read(redis_db: str) -> None:
    with closing(opening.open_results(redis_db)) as store, closing(Waiting(store)) as waiting:
        before = readers()
        store.save([Result("first", b"on its way")])

        def and_then_one_more(task_id: str, payload: bytes) -> tuple[bytes] | None:
            if payload == b"on its way":
                store.save([Result("first", b"done")])
                return None
            assert readers() == before, "it came over the connection of who waits"
            store.save([Result("second", b"done, too")])
            assert waiting.wait(["second"], lambda _, payload: (payload,), 10) == b"done, too"
            assert readers() == before + 1
            return (payload,)

        assert waiting.wait(["first"], and_then_one_more, 10) == b"done"


def test_who_waits_alone_finds_out_that_the_server_is_gone(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "SILENCE", 0.05)
    with Proxy(redis_server.port) as proxy, closing(opening.open_results(proxy.url)) as store:
        ear = store.ear()
        assert ear is not None
        with ear:
            ear.listen(["never"])
            proxy.swallow()
            with pytest.raises(OperationalError, match=r"silent for 0\.1 s"):
                ear.hear(time.monotonic() + 10)


def test_a_watch_on_a_connection_that_the_network_forgot_is_told_over_a_new_one(
    redis_server: RedisServer, redis_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "SILENCE", 0.05)
    told = threading.Event()
    with Proxy(redis_server.port) as proxy, closing(opening.open_results(proxy.url)) as store:
        watch = store.watch(lambda *_: told.set())
        assert watch.add(["late"]) == [None]
        proxy.swallow()
        proxy.pass_on(forget=True)
        with closing(opening.open_results(redis_db)) as others:
            others.save([Result("late", b"done")])
        assert told.wait(20)
