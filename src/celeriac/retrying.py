"""A task that tries again by itself after the errors that `autoretry_for` names."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, cast

from celeriac.exceptions import TaskPredicate
from celeriac.request import Request


class Retries(Protocol):
    """What trying again asks of its task."""

    autoretry_for: tuple[type[BaseException], ...]
    dont_autoretry_for: tuple[type[BaseException], ...]
    retry_kwargs: Mapping[str, Any]
    retry_backoff: int | float | bool
    retry_backoff_max: float
    retry_jitter: bool

    @property
    def request(self) -> Request: ...

    @property
    def is_async(self) -> bool: ...

    def retry(self, *, exc: BaseException, **options: Any) -> Exception: ...


def retrying(task: Retries, run: Callable[..., Any]) -> Callable[..., Any]:
    """run() that retries by itself after the errors of `autoretry_for`."""

    def judge(error: BaseException) -> None:
        """Raise Retry, or return: then the error is raised as it is."""
        if isinstance(error, (TaskPredicate, *task.dont_autoretry_for)):
            return
        options = dict(task.retry_kwargs)
        request = task.request
        if task.retry_backoff:
            options["countdown"] = backoff_delay(
                task.retry_backoff, request.retries, task.retry_backoff_max, task.retry_jitter
            )
        if request.max_retries_said is not None:
            options["max_retries"] = request.max_retries_said
        if isinstance(error, Exception):
            task.retry(exc=error, **options)

    @functools.wraps(run)
    def run_and_retry(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except task.autoretry_for as error:
            judge(error)
            raise

    @functools.wraps(run)
    async def run_and_retry_async(*args: Any, **kwargs: Any) -> Any:
        try:
            return await cast(Coroutine[Any, Any, Any], run(*args, **kwargs))
        except task.autoretry_for as error:
            judge(error)
            raise

    chosen: Any = run_and_retry_async if task.is_async else run_and_retry
    chosen.__autoretry__ = True
    return cast(Callable[..., Any], chosen)


def backoff_delay(factor: float, retries: int, longest: float, jitter: bool) -> int:
    """Seconds before the next try: doubled each time, never over `longest`."""
    # 2 ** 64 seconds are longer than any limit; the power of a large count would take long by itself.
    seconds = int(min(longest, int(max(1, factor)) * 2 ** min(retries, 64)))
    return random.randrange(seconds + 1) if jitter else max(0, seconds)


def errors_named(classes: Any) -> tuple[type[BaseException], ...]:
    """These classes, of which a task may name one or several; TypeError if one is no exception."""
    if not classes:
        return ()
    several = (classes,) if isinstance(classes, type | str) else tuple(classes)
    for kind in several:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(
                "autoretry_for, dont_autoretry_for and throws hold classes of exceptions, as in "
                f"autoretry_for=(ConnectionError,), not {kind!r}"
            )
    return several
