"""Signatures of a generator: made when they are needed, and while a group is sent not kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any


class Later:
    """A list that is filled from an iterator by whoever first asks for what is in it."""

    def __init__(self, source: Iterable[Any]) -> None:
        self._source: Iterator[Any] | None = iter(source)
        self._items: list[Any] = []
        self._taken = False

    def stream(self) -> Iterator[Any]:
        """All items, one after the other. What was not looked at before is gone after this."""
        if self._source is None:
            yield from self.filled()
            return
        looked_at, self._items = self._items, []
        source, self._source, self._taken = self._source, None, True
        yield from looked_at
        yield from source

    def first(self) -> list[Any]:
        """The first item, if there is one; it stays the first."""
        if not self._items and self._source is not None:
            self._items.extend(islice(self._source, 1))
        return self._items[:1]

    def filled(self) -> list[Any]:
        """All items, kept from now on."""
        if self._taken:
            raise RuntimeError(
                "the generator of this group was used up when the group was sent: give a list to use it twice"
            )
        if self._source is not None:
            self._items.extend(self._source)
            self._source = None
        return self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.filled())

    def __len__(self) -> int:
        return len(self.filled())

    def __bool__(self) -> bool:
        return self._taken or bool(self.first())

    def __getitem__(self, index: Any) -> Any:
        return self.filled()[index]

    def __eq__(self, other: object) -> bool:
        return self.filled() == (other.filled() if isinstance(other, Later) else other)

    __hash__ = None  # type: ignore[assignment]

    def __json__(self) -> list[Any]:
        return self.filled()

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [item.clone() for item in self.filled()]

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (self.filled(),)

    def __repr__(self) -> str:
        return "[used up]" if self._taken else repr(self.filled())
