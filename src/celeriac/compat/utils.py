"""The small tools that Celery's users import from `celery.utils`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar
from uuid import uuid4

from celeriac.compat.imports import gen_task_name, import_from_cwd, instantiate, qualname, symbol_by_name
from celeriac.compat.nodenames import nodename, nodesplit, worker_direct

__all__ = [
    "LOG_LEVELS",
    "cached_property",
    "chunks",
    "gen_task_name",
    "gen_unique_id",
    "get_cls_by_name",
    "get_full_cls_name",
    "import_from_cwd",
    "instantiate",
    "nodename",
    "nodesplit",
    "noop",
    "uuid",
    "worker_direct",
]

get_cls_by_name = symbol_by_name
get_full_cls_name = qualname

T = TypeVar("T")

#: Both ways: by name and by number.
LOG_LEVELS: dict[Any, Any] = logging.getLevelNamesMapping() | {
    number: logging.getLevelName(number) for number in logging.getLevelNamesMapping().values()
}


def uuid() -> str:
    """A new id, as tasks have them."""
    return str(uuid4())


gen_unique_id = uuid


def chunks(it: Iterable[T], n: int) -> Iterator[list[T]]:
    """The items in lists of n, the last one shorter."""
    items = iter(it)
    while chunk := list(islice(items, n)):
        yield chunk


def noop(*args: Any, **kwargs: Any) -> None:
    """Does nothing, whatever it is given."""
