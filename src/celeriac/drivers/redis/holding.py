"""What one owner holds: its claims by number, and the batch of each, which is how they lie in the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Batch:
    """Messages that were claimed together from one list."""

    __slots__ = ("first", "left")

    def __init__(self, first: int, left: int) -> None:
        #: Number of its first claim, which is its name.
        self.first = first
        #: How many of them are still held.
        self.left = left


class Holding:
    """Changed when a turn is packed, not when it is answered: a turn is never taken back, only sent again."""

    def __init__(self) -> None:
        #: Number of the claim -> its batch.
        self.batches: dict[int, Batch] = {}
        #: Claims that carry the mark of having begun.
        self.begun: set[int] = set()

    def add(self, first: int, numbers: Sequence[int]) -> None:
        """Claims of one batch."""
        self.batches.update(dict.fromkeys(numbers, Batch(first, len(numbers))))

    def place(self, number: int) -> tuple[str, int]:
        """The batch of a claim, and where in it."""
        first = self.batches[number].first
        return str(first), number - first

    def settle(self, numbers: Iterable[int]) -> tuple[list[str], list[str], list[str]]:
        """Hold these no longer. What the store is to drop: whole batches; (batch, index) of claims in others;
        marks."""
        held = [(number, batch) for number in numbers if (batch := self.batches.pop(number, None))]
        for _, batch in held:
            batch.left -= 1
        touched = {batch.first: batch for _, batch in held}
        whole = [str(first) for first, batch in touched.items() if not batch.left]
        single: list[str] = []
        if len(whole) < len(touched):
            for number, batch in held:
                if batch.left:
                    single += (str(batch.first), str(number - batch.first))
        if not self.begun:
            return whole, single, []
        marks = [number for number, _ in held if number in self.begun]
        self.begun.difference_update(marks)
        return whole, single, [f"{number}!" for number in marks]
