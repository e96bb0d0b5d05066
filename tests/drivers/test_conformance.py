"""The public suite over every driver of this distribution, alone and paired."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from celeriac.drivers import opening
from celeriac.ports import Broker, Bus, ResultStore, ScheduleStore
from celeriac.testing.conformance import (
    BrokerConformance,
    BusConformance,
    ResultConformance,
    ScheduleConformance,
)


class TestMemory(BrokerConformance, BusConformance, ResultConformance, ScheduleConformance):
    one_process = True

    @pytest.fixture
    def open_broker(self, memory_url: str) -> Callable[[], Broker]:
        return partial(opening.open_broker, memory_url, memory_url)

    @pytest.fixture
    def open_bus(self, memory_url: str) -> Callable[[], Bus]:
        return partial(opening.open_bus, memory_url)

    @pytest.fixture
    def open_results(self, memory_url: str) -> Callable[[], ResultStore]:
        return partial(opening.open_results, memory_url)

    @pytest.fixture
    def open_schedules(self, memory_url: str) -> Callable[[], ScheduleStore]:
        return partial(opening.open_schedules, memory_url, "group")


class TestSqlite(BrokerConformance, BusConformance, ResultConformance, ScheduleConformance):
    @pytest.fixture
    def open_broker(self, sqlite_url: str) -> Callable[[], Broker]:
        return partial(opening.open_broker, sqlite_url, sqlite_url)

    @pytest.fixture
    def open_bus(self, sqlite_url: str) -> Callable[[], Bus]:
        return partial(opening.open_bus, sqlite_url)

    @pytest.fixture
    def open_results(self, sqlite_url: str) -> Callable[[], ResultStore]:
        return partial(opening.open_results, sqlite_url)

    @pytest.fixture
    def open_schedules(self, sqlite_url: str) -> Callable[[], ScheduleStore]:
        return partial(opening.open_schedules, sqlite_url, "group")


class TestRedis(BrokerConformance, BusConformance, ResultConformance, ScheduleConformance):
    @pytest.fixture
    def open_broker(self, redis_db: str) -> Callable[[], Broker]:
        return partial(opening.open_broker, redis_db, redis_db)

    @pytest.fixture
    def open_bus(self, redis_db: str) -> Callable[[], Bus]:
        return partial(opening.open_bus, redis_db)

    @pytest.fixture
    def open_results(self, redis_db: str) -> Callable[[], ResultStore]:
        return partial(opening.open_results, redis_db)

    @pytest.fixture
    def open_schedules(self, redis_db: str) -> Callable[[], ScheduleStore]:
        return partial(opening.open_schedules, redis_db, "group")


class TestRedisPairedWithRedis(BrokerConformance):
    """Broker and results in two databases of one server: the same end state as in one atomic step."""

    one_store = False

    @pytest.fixture
    def open_broker(self, redis_db: str) -> Callable[[], Broker]:
        return partial(opening.open_broker, redis_db, other_database(redis_db))

    @pytest.fixture
    def open_results(self, redis_db: str) -> Callable[[], ResultStore]:
        return partial(opening.open_results, other_database(redis_db))


class TestSqlitePairedWithSqlite(BrokerConformance):
    """Broker and results in two files."""

    one_store = False

    @pytest.fixture
    def open_broker(self, sqlite_url: str, tmp_path: Path) -> Callable[[], Broker]:
        return partial(opening.open_broker, sqlite_url, f"sqlite:///{tmp_path}/results.db")

    @pytest.fixture
    def open_results(self, tmp_path: Path) -> Callable[[], ResultStore]:
        return partial(opening.open_results, f"sqlite:///{tmp_path}/results.db")


def other_database(url: str) -> str:
    """Database 1 of a server whose tests use 0."""
    return f"{url.rsplit('/', 1)[0]}/1"
