"""Whether arguments fit a function, told at the caller and cheaply: counting comes before binding."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Parameters:
    """What a function takes, worked out once."""

    __slots__ = ("_after", "_least", "_most", "_needed_after", "_plain", "_signature")

    def __init__(self, function: Callable[..., Any]) -> None:
        try:
            self._signature: inspect.Signature | None = inspect.signature(function)
        except (TypeError, ValueError):
            self._signature = None  # written in C, and it does not say
        parameters = [] if self._signature is None else list(self._signature.parameters.values())
        names = [p.name for p in parameters]
        needed = [p.name for p in parameters if p.default is p.empty]
        self._plain = self._signature is not None and all(
            p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters
        )
        self._least, self._most = len(needed), len(names)
        #: After n positional arguments: the names that may, and those that must, still come.
        self._after = [frozenset(names[n:]) for n in range(len(names) + 1)]
        self._needed_after = [frozenset(names[n:]) & frozenset(needed) for n in range(len(names) + 1)]

    def check(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """TypeError, as Python would raise it, if the function cannot be called so."""
        if self._plain and (count := len(args)) <= self._most:
            if not kwargs:
                if count >= self._least:
                    return
            elif self._needed_after[count] <= kwargs.keys() <= self._after[count]:
                return
        self._bind(name, args, kwargs)

    def _bind(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if self._signature is None:
            return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            bare = [p.replace(annotation=p.empty) for p in self._signature.parameters.values()]
            shown = inspect.Signature(bare)
            hint = "; is `self` to be the task? then declare it with bind=True" if _has_self(bare) else ""
            raise TypeError(f"{name}{shown}: {error}{hint}") from None


def _has_self(parameters: Sequence[inspect.Parameter]) -> bool:
    return bool(parameters) and parameters[0].name == "self"
