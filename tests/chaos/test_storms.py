"""Rows 1 and 3 in short: nothing is lost under kills and cuts, and everyone consumes again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos import faults
from chaos.stage import RedisStore, SqliteStore, Stage, Store
from chaos.storm import Storm

Opened = Callable[..., Stage]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """`opened("redis", lease=2.0)`: a stage, closed after the test."""
    stages: list[Stage] = []

    def open_stage(driver: str, *options: str, **more: object) -> Stage:
        store: Store = RedisStore(*options) if driver == "redis" else SqliteStore(tmp_path)
        stages.append(Stage(tmp_path, store, **more))  # type: ignore[arg-type]
        return stages[-1]

    yield open_stage
    for stage in stages:
        stage.close()


def test_nothing_is_lost_or_miscounted_while_everything_is_killed_and_cut(opened: Opened) -> None:
    stage = opened("redis", lease=2.0)
    for _ in range(2):
        stage.start_worker("-c", "2")
    storm = Storm(stage, seed=1, most=3000, rate=400)
    storm.begin()
    storm.run(
        [
            faults.kill_a_child,
            faults.cut_replies,
            faults.kill_a_supervisor,
            faults.cut_after_some_bytes,
            faults.restart_redis,
            faults.kill_a_worker,
            faults.reset_connections,
        ],
        pause=(0.1, 0.3),
    )
    storm.end()
