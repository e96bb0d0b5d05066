"""The stage for tests of chaos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.stage import Opened, RedisStore, SqliteStore, Stage, Store
from conftest import demand
from services import RedisServer


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """`opened("redis", lease=2.0)`: a stage, closed after the test."""
    stages: list[Stage] = []

    def open_stage(driver: str, *options: str, **more: object) -> Stage:
        demand("redis-server", driver != "redis" or RedisServer.executable() is not None)
        store: Store = RedisStore(*options) if driver == "redis" else SqliteStore(tmp_path)
        stages.append(Stage(tmp_path, store, **more))  # type: ignore[arg-type]
        return stages[-1]

    yield open_stage
    for stage in stages:
        stage.close()
