"""Find the known name that a mistyped one was meant to be."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that this one is a misspelling of, if it is one: one letter of a short name, two of a
    longer one may be wrong."""
    allowed = 1 if len(name) <= 8 else 2
    letters = set(name)
    candidates = []
    for other in known:
        # Cheap tests first: only a few of the names are worth the true measure.
        if abs(len(other) - len(name)) <= allowed and len(letters ^ set(other)) <= 2 * allowed:
            distance = _distance(name, other)
            if distance <= allowed:
                candidates.append((distance, other))
    return min(candidates)[1] if candidates else None


def _distance(a: str, b: str) -> int:
    """How many letters to insert, drop, replace or swap with their neighbour, to make one of the other."""
    before: list[int] = []
    above = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            best = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, above = above, row
    return above[-1]
