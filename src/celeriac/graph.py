"""Which results came of which, as a graph: to be sorted, or drawn by Graphviz."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol


class Writable(Protocol):
    """A file for text."""

    def write(self, text: str, /) -> object: ...


class DependencyGraph:
    """Things, and which of them depend on which: `result.graph.to_dot(file)`."""

    def __init__(
        self,
        it: Iterable[tuple[Any, Iterable[Any]]] | None = None,
        formatter: Callable[[Any], str] | None = None,
    ) -> None:
        #: What a node is called in a drawing.
        self.formatter = formatter or str
        self._adjacent: dict[Any, list[Any]] = {}
        self.update(it or ())

    def add_arc(self, obj: Any) -> None:
        """A thing, if it is new."""
        self._adjacent.setdefault(obj, [])

    def add_edge(self, obj: Any, on: Any) -> None:
        """One depends on another."""
        self._adjacent[obj].append(on)

    def connect(self, graph: DependencyGraph) -> None:
        """All that another graph holds."""
        self._adjacent.update(graph._adjacent)

    def update(self, it: Iterable[tuple[Any, Iterable[Any]]]) -> None:
        """Several things at once, each with what it depends on."""
        known = [(obj, list(on)) for obj, on in it]
        for obj, on in known:
            for one in (obj, *on):
                self.add_arc(one)
            for one in on:
                self.add_edge(obj, one)

    def edges(self) -> Iterator[Any]:
        """The things that depend on others."""
        return (obj for obj, on in self.items() if on)

    def topsort(self) -> list[Any]:
        """All, each behind what it depends on; ValueError if some depend on each other."""
        import graphlib

        return list(graphlib.TopologicalSorter(self._adjacent).static_order())

    def valency_of(self, obj: Any) -> int:
        """How many depend on it, directly or not."""
        on = self._adjacent.get(obj, ())
        return len(on) + sum(self.valency_of(one) for one in on)

    def to_dot(self, fh: Writable, formatter: Callable[[Any], str] | None = None) -> None:
        """Write it in Graphviz's language: `dot -Tsvg file.dot` draws it."""
        name = formatter or self.formatter
        fh.write("digraph dependencies {\n")
        for obj, on in self.items():
            fh.write(f"    {_quoted(name(obj))}\n")
            for one in on:
                fh.write(f"    {_quoted(name(obj))} -> {_quoted(name(one))}\n")
        fh.write("}\n")

    def items(self) -> Iterator[tuple[Any, list[Any]]]:
        """Each with those that it depends on."""
        return iter(self._adjacent.items())

    iteritems = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._adjacent)

    def __contains__(self, obj: object) -> bool:
        return obj in self._adjacent

    def __getitem__(self, obj: Any) -> list[Any]:
        return self._adjacent[obj]

    def __len__(self) -> int:
        return len(self._adjacent)

    def __repr__(self) -> str:
        return "\n".join(
            f"{self.formatter(obj)} -> {', '.join(map(self.formatter, on)) or '(nothing)'}"
            for obj, on in self.items()
        )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
