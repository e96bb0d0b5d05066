"""Two hundred exception classes that break whoever prints, pickles, compares or rebuilds them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def _of_one(number: int) -> type[Exception]:
    """A class of its own for each number; seven kinds of malice in turn."""
    kind = number % len(_KINDS)
    members = {"__module__": f"nowhere.to_be_found_{number}", **_KINDS[kind]}
    return type(f"Hostile{number}", (Exception,), members)


def _raiser(what: BaseException) -> Callable[..., Any]:
    def method(*_: Any, **__: Any) -> Any:
        raise what

    return method


def _init_with_many(self: Exception, one: int, *, two: str) -> None:
    Exception.__init__(self)
    self.one = one  # type: ignore[attr-defined]


_KINDS: list[dict[str, Any]] = [
    {"__init__": lambda self: Exception.__init__(self, threading.Lock(), object(), lambda: 0)},
    {"__str__": _raiser(RuntimeError("no words")), "__repr__": _raiser(RuntimeError("no form"))},
    {"__reduce__": _raiser(TypeError("will not be pickled")), "__getstate__": _raiser(KeyError("state"))},
    {"__init__": lambda self: setattr(self, "args", (self,))},
    {"__init__": lambda self: Exception.__init__(self, "\udcff\x00 broken", b"\xff" * 10, {1: {2: {3: 4}}})},
    {"args": property(_raiser(AttributeError("no arguments")))},
    {"__eq__": _raiser(ValueError("incomparable")), "__hash__": None, "__bool__": _raiser(ValueError("?"))},
    {"__class__": property(lambda self: int)},
    {"__init__": lambda self: Exception.__init__(self, "x" * 3_000_000)},
    {"__traceback__": property(lambda self: 7), "__cause__": property(lambda self: "because")},
]

HOSTILE = [_of_one(number) for number in range(200)]
