"""Row 12: one file under kills of everybody who writes it, and on a disk that is full."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos import faults
from chaos.one_file import fill, integrity, kill_producer, small_disk, start_producer
from chaos.stage import Opened
from chaos.storm import BACK_WHEN_BUSY, Storm


def test_one_file_survives_the_kills_of_its_workers_and_producers(opened: Opened, tmp_path: Path) -> None:
    stage = opened("sqlite", lease=2.0)
    for _ in range(2):
        stage.start_worker("-c", "2")
    producers = [start_producer(stage.store.url, f"p{number}") for number in range(4)]
    for one in producers:
        one.wait_for_line(r"p\d\.20")
    for one in producers:
        kill_producer(stage, one)
    storm = Storm(stage, seed=12, most=400, rate=100, back=BACK_WHEN_BUSY)
    storm.begin()
    storm.run([faults.kill_a_child, faults.kill_a_supervisor, faults.kill_a_worker], pause=(0.1, 0.3))
    storm.end()
    assert integrity(tmp_path / "chaos.db") == "ok"


def test_a_full_disk_loses_nothing_and_says_so_and_work_goes_on_when_it_is_freed(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    disk = small_disk(small)
    if disk is None:
        pytest.skip("no small disk can be mounted here")
    said = fill(small, disk, 1)
    assert "free some space on its disk" in said
    assert "all " in said
