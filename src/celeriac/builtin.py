"""The tasks that every app has: what signatures of many calls in one message call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from celeriac import aio
from celeriac.canvas import chunks
from celeriac.canvas.signature import as_signature


def register(app: Any) -> None:
    """Declare them in an app, under Celery's names."""
    for name, function in _TASKS.items():
        app.task(name=name, bind=True, typing=False)(function)


def _map(self: Any, task: Any, it: Iterable[Any]) -> list[Any]:
    return list(_values(self.app, task, ((item,) for item in it)))


def _starmap(self: Any, task: Any, it: Iterable[Any]) -> list[Any]:
    return list(_values(self.app, task, it))


def _chunks(self: Any, task: Any, it: Iterable[Any], n: int) -> Any:
    return chunks.apply_chunks(task, it, n, app=self.app)


def _accumulate(self: Any, *args: Any, index: int | None = None, **_named: Any) -> Any:
    """All that it is called with, as its value: so a group can stand where one value is wanted."""
    return list(args) if index is None else args[index]


def _values(app: Any, task: Any, calls: Iterable[Iterable[Any]]) -> Iterator[Any]:
    called = as_signature(task, app).type
    for args in calls:
        value = called(*args)
        yield aio.run(value) if called.is_async else value


def _backend_cleanup(self: Any) -> None:
    """Nothing: results expire by themselves. A stock beat sends it every night."""


_TASKS = {
    "celery.accumulate": _accumulate,
    "celery.backend_cleanup": _backend_cleanup,
    "celery.chunks": _chunks,
    "celery.map": _map,
    "celery.starmap": _starmap,
}
