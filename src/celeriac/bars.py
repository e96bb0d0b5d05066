"""A bar in a terminal or a notebook that shows how far a task is, or how many tasks of a group are done.

from celeriac.bars import show

pages = show(thumbnails.delay(folder))      # waits, draws, gives the value
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from celeriac.result import AsyncResult
from celeriac.resultset import ResultSet


def show(result: Any, timeout: float | None = None, console: Console | None = None) -> Any:
    """Draw until it has ended; gives its value, or raises what it raised. TimeoutError after a silence of
    `timeout` seconds."""
    if isinstance(result, ResultSet):
        with _bar(console, "tasks", len(result._leaves())) as (bars, bar):
            for _ in result.iterate(timeout, propagate=False):
                bars.advance(bar)
        return result.get(timeout)
    with _bar(console, _name(result), None) as (bars, bar):
        for update in result.progress(timeout):
            bars.update(bar, **_fields(update, result))
        _fill(bars, bar, result)
    return result.get(timeout)


async def ashow(result: Any, timeout: float | None = None, console: Console | None = None) -> Any:
    """The same in a coroutine, such as a cell of a notebook."""
    if isinstance(result, ResultSet):
        with _bar(console, "tasks", len(result._leaves())) as (bars, bar):
            async for _ in result.aiterate(timeout, propagate=False):
                bars.advance(bar)
        return await result.aget(timeout)
    with _bar(console, _name(result), None) as (bars, bar):
        async for update in result.progress(timeout):
            bars.update(bar, **_fields(update, result))
        _fill(bars, bar, result)
    return await result.aget(timeout)


@contextmanager
def _bar(console: Console | None, name: str, total: float | None) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        yield bars, bars.add_task(name, total=total)


def _fill(bars: Progress, bar: TaskID, result: AsyncResult[Any]) -> None:
    """It may have ended before anybody looked."""
    if result.successful():
        total = bars.tasks[0].total or 1
        bars.update(bar, total=total, completed=total)


def _fields(update: Any, result: AsyncResult[Any]) -> dict[str, Any]:
    return {
        "completed": update.current,
        "total": update.total,
        "description": update.message or _name(result),
    }


def _name(result: AsyncResult[Any]) -> str:
    return result.task_name or result.id
