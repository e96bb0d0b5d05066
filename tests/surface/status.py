"""Writes docs/celery-surface-status.md from the table of Celery's surface and the names of the tests."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
TABLE = TESTS / "surface" / "surface.txt"
DOCUMENT = TESTS.parent / "docs" / "celery-surface-status.md"

STATUSES = ("done", "differs", "open", "not planned")

_HEAD = """\
# How celeriac stands to Celery's public surface

Every item of Celery 5.7's public surface, {count} in all: {sums}.
Written by `scripts/surface-status` from `tests/surface/surface.txt` and the names of the tests;
`pytest -k TSK_13` runs the tests that show an item.

**done**: as in Celery, shown by tests · **differs**: there, and different on purpose
([celery-differences.md](celery-differences.md) has the reasons) · **open**: missing, or a part of it is ·
**not planned**: what it is for is reached in another way, or it belongs to Celery's own insides.
"""


class Item(NamedTuple):
    id: str
    title: str
    status: str
    why: str
    #: A file or folder below tests/ (or the conformance suite).
    shown: str


def table() -> dict[str, list[Item]]:
    """The items by their section's heading."""
    sections: dict[str, list[Item]] = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            heading = line[1:].replace("]", ":", 1)
            sections[heading] = []
        elif line and not line.startswith("#"):
            id, title, status, why, shown = [*(part.strip() for part in line.split("|")), "", "", ""][:5]
            sections[heading].append(Item(id, title, status or "done", why, shown))
    return sections


def document() -> str:
    """The whole text."""
    sections = table()
    counts = Counter(item.status for items in sections.values() for item in items)
    sums = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
    lines = [_HEAD.format(count=counts.total(), sums=sums)]
    shown = ids_in_tests()
    for heading, items in sections.items():
        lines += [f"## {heading}", "", "| id | what | status | | shown by |", "|---|---|---|---|---|"]
        lines += [_row(item, shown) for item in items]
        lines.append("")
    return "\n".join(lines)


def _row(item: Item, shown: Counter[str]) -> str:
    by = [f"`-k {item.id.replace('-', '_')}`"] if shown[item.id] else []
    by += [f"`{_place(item.shown)}`"] if item.shown else []
    return f"| {item.id} | {item.title} | {item.status} | {item.why} | {', '.join(by)} |"


def _place(shown: str) -> str:
    return f"src/celeriac/{shown}" if shown.startswith("testing/") else f"tests/{shown}"


def ids_in_tests() -> Counter[str]:
    """How many tests carry each id; `test_EXC_1_to_4` carries four."""
    found: Counter[str] = Counter()
    for path in TESTS.rglob("test_*.py"):
        for area, first, last in re.findall(
            r"def test_([A-Z]{2,4})_(\d+)(?:_to_(\d+))?_", path.read_text(encoding="utf-8")
        ):
            found.update(f"{area}-{number}" for number in range(int(first), int(last or first) + 1))
        found["CFG"] += path.name == "test_cfg.py"
    return found


def mistakes() -> Iterator[str]:
    """What the table says and the tests do not."""
    shown = ids_in_tests()
    items = [item for items in table().values() for item in items]
    known = {item.id for item in items}
    yield from (f"a test carries the unknown id {id}" for id in shown if id not in known)
    for item in items:
        if item.status not in STATUSES:
            yield f"{item.id}: there is no status {item.status!r}"
        if (item.status == "done") is bool(item.why):
            yield f"{item.id} is {item.status}: {'why?' if not item.why else 'nothing is left to say'}"
        if item.shown and not (TESTS.parent / _place(item.shown)).exists():
            yield f"{item.id} is shown by {item.shown}, which is not there"
        if item.status in ("done", "differs") and not shown[item.id] and not item.shown:
            yield f"{item.id} is {item.status}, and no test shows it"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
