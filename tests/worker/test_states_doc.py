"""docs/states.md is kept true: each of its rows is a test, and each test of kills is a row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).with_name("test_kills.py")
#: Where tests of a row may be too, because they need what these have.
ALSO = [
    *(Path(__file__).with_name(name) for name in ("test_stopping.py", "test_pools.py")),
    Path(__file__).parents[1] / "canvas" / "test_workflows.py",
    Path(__file__).parents[1] / "chaos" / "test_failover.py",
]
PAGE = Path(__file__).parents[2] / "docs" / "states.md"

IN_ORDER = [
    [cell.strip() for cell in line.split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| K\d+ \|", line)
]
ROWS = {cells[1]: cells for cells in IN_ORDER}


def names_of_tests_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def named_by(cells: list[str]) -> set[str]:
    return set(re.findall(r"`(test_\w+)`", " ".join(cells)))


def test_the_rows_are_numbered_without_a_gap() -> None:
    assert [cells[1] for cells in IN_ORDER] == [f"K{number}" for number in range(1, len(ROWS) + 1)]
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS)
def test_the_test_of_a_row_exists(row: str) -> None:
    assert named_by(ROWS[row]), f"{row} names no test"
    assert named_by(ROWS[row]) <= set().union(*map(names_of_tests_in, [TESTS, *ALSO]))


def test_every_test_of_kills_has_a_row() -> None:
    assert names_of_tests_in(TESTS) <= {name for cells in ROWS.values() for name in named_by(cells)}
