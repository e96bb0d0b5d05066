"""A second run is explained by a fault that hit one of its two processes between, and by nothing else."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from chaos.ledger import Entry, Ledger, Span, note
from chaos.life import Life, lives, myself

VICTIM, NEIGHBOUR, NAMESAKE = Life(7, 100), Life(8, 100), Life(7, 900)


@pytest.mark.parametrize(
    ("hit", "first", "second", "explained"),
    [
        ({VICTIM: [(15.0, math.inf)]}, VICTIM, NEIGHBOUR, True),
        ({VICTIM: [(25.0, math.inf)]}, VICTIM, NEIGHBOUR, False),
        ({NAMESAKE: [(15.0, math.inf)]}, VICTIM, NEIGHBOUR, False),
        ({NEIGHBOUR: [(5.0, 12.0)]}, VICTIM, NEIGHBOUR, True),
        ({NEIGHBOUR: [(5.0, 8.0)]}, VICTIM, NEIGHBOUR, False),
        ({}, VICTIM, NEIGHBOUR, False),
    ],
    ids=["killed", "killed later", "another of its number", "woke with it", "woke before", "nobody died"],
)
def test_a_second_run_is_explained_only_by_what_hit_one_of_its_processes_between(
    tmp_path: Path, hit: dict[Life, list[Span]], first: Life, second: Life, explained: bool
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.entries = [Entry("a", "begin", first, 0, 10.0), Entry("a", "begin", second, 1, 20.0)]
    assert bool(list(ledger.unexplained(hit))) is not explained


def test_the_ledger_knows_a_process_by_its_number_and_its_start(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    note(path, "a", "begin")
    (entry,) = Ledger(path).read()
    assert [entry.life] == [myself()] == list(lives([os.getpid()]))
    pid = os.fork()
    if not pid:
        note(path, "b", "begin")
        os._exit(0)
    os.waitpid(pid, 0)
    assert Ledger(path).read()[1].life.pid == pid
    assert lives([pid]) == ()
