"""`celery.utils.saferepr`: a repr that is never long and never fails."""

from __future__ import annotations

from typing import Any

from celeriac.wire.saferepr import LIMIT, safe_repr

__all__ = ["saferepr"]


def saferepr(o: Any, maxlen: int | None = None, maxlevels: int = 3, seen: Any = None) -> str:
    """The repr, cut after `maxlen` signs."""
    return safe_repr(o, LIMIT if maxlen is None else maxlen, maxlevels)
