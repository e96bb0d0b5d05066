"""Exceptions that cannot be pickled, for programs that store them themselves."""

from __future__ import annotations

import pickle
from typing import Any

from celeriac.wire.saferepr import safe_repr

__all__ = ["UnpickleableExceptionWrapper", "get_pickleable_exception"]


class UnpickleableExceptionWrapper(Exception):
    """Stands for an exception that cannot travel: its module, its class, and its arguments as text."""

    def __init__(self, exc_module: str, exc_cls_name: str, exc_args: Any, text: str | None = None) -> None:
        self.exc_module = exc_module
        self.exc_cls_name = exc_cls_name
        self.exc_args = tuple(safe_repr(argument) for argument in exc_args)
        self.text = text
        super().__init__(exc_module, exc_cls_name, self.exc_args, text)

    @classmethod
    def from_exception(cls, exc: BaseException) -> UnpickleableExceptionWrapper:
        return cls(type(exc).__module__, type(exc).__name__, exc.args, safe_repr(exc))

    def __str__(self) -> str:
        return str(self.text)


def get_pickleable_exception(exc: BaseException) -> BaseException:
    """The exception itself if it can be pickled and read again, else one that stands for it."""
    try:
        pickle.loads(pickle.dumps(exc))
    except Exception:
        return UnpickleableExceptionWrapper.from_exception(exc)
    return exc
