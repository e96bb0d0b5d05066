"""`celery.contrib.testing.manager`: waiting words for tests against a true worker.

manager = Manager(app)
manager.assert_accepted([result.id])
manager.join(result)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from celeriac import states
from celeriac.app import Celery
from celeriac.exceptions import CeleriacError, TimeoutError
from celeriac.result import AsyncResult
from celeriac.resultset import ResultSet

__all__ = ["Manager", "ManagerMixin", "Sentinel"]


class Sentinel(Exception):
    """What was waited for has not come yet."""


class ManagerMixin:
    """The words; `app` is whose worker is asked."""

    app: Celery

    def remark(self, s: str, sep: str = "-") -> None:
        print(f"{sep}{s}", file=sys.stderr)  # noqa: T201 - it speaks to who runs the tests

    def wait_for(
        self,
        fun: Callable[..., Any],
        catch: Any,
        desc: str = "thing",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        errback: object = None,
        max_retries: int | None = 10,
        interval_start: float = 0.1,
        interval_step: float = 0.5,
        interval_max: float = 5.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> Any:
        """Call it again and again, with longer and longer pauses, until it raises nothing of `catch`."""
        tries = 0
        while True:
            try:
                return fun(*args, **(kwargs or {}))
            except catch as error:
                if emit_warning:
                    self.remark(f"waiting for {desc}: {error!r}")
                if max_retries is not None and tries >= max_retries:
                    raise
                time.sleep(min(interval_max, interval_start + tries * interval_step))
                tries += 1

    retry_over_time = wait_for

    def ensure_not_for_a_while(
        self,
        fun: Callable[..., Any],
        catch: Any,
        desc: str = "thing",
        max_retries: int = 20,
        interval_start: float = 0.1,
        interval_step: float = 0.02,
        interval_max: float = 1.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> None:
        """It must go on to raise `catch`: AssertionError as soon as it does not."""
        for tries in range(max_retries):
            try:
                fun()
            except catch:
                time.sleep(min(interval_max, interval_start + tries * interval_step))
            else:
                raise AssertionError(f"{desc} should not have happened")

    def true_or_raise(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What it returns; Sentinel if that is nothing."""
        found = fun(*args, **kwargs)
        if not found:
            raise Sentinel
        return found

    def join(self, r: Any, propagate: bool = False, max_retries: int = 10, **kwargs: Any) -> Any:
        """The values of a result or a set of them; AssertionError names what is missing in the end."""
        results = r if isinstance(r, ResultSet) else ResultSet([r], app=self.app)
        for _ in range(max_retries):
            try:
                return results.get(propagate=propagate, **{"timeout": 10, **kwargs})
            except TimeoutError:
                self.remark(f"still waiting for {len(self.missing_results(results))} results")
        raise AssertionError(f"no results of {', '.join(self.missing_results(results))}")

    def missing_results(self, r: Iterable[AsyncResult[Any]]) -> list[str]:
        return [result.id for result in r if not result.ready()]

    # --- what workers say -----------------------------------------------------------------------------------

    def inspect(self, timeout: float = 3.0) -> Any:
        return self.app.control.inspect(timeout=timeout)

    def query_tasks(self, ids: Iterable[str], timeout: float = 0.5) -> Iterable[tuple[str, Any]]:
        """What each worker knows of these tasks."""
        return (self.inspect(timeout).query_task(list(ids)) or {}).items()

    def query_task_states(self, ids: Iterable[str], timeout: float = 0.5) -> dict[str, set[str]]:
        """The tasks by what they do: active, reserved, ready."""
        known: dict[str, set[str]] = {}
        for _worker, tasks in self.query_tasks(ids, timeout):
            for id, (state, *_) in tasks.items():
                known.setdefault(state, set()).add(id)
        return known

    def is_accepted(self, ids: Iterable[str], **kwargs: Any) -> bool:
        """They run, or have run."""
        return self._are_in(("active", "ready"), list(ids))

    def is_received(self, ids: Iterable[str], **kwargs: Any) -> bool:
        """A worker has them."""
        return self._are_in(("reserved", "active", "ready"), list(ids))

    def assert_accepted(
        self,
        ids: Iterable[str],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be accepted",
        **policy: Any,
    ) -> Any:
        return self._assert(self.is_accepted, list(ids), interval, desc, policy)

    def assert_received(
        self,
        ids: Iterable[str],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be received",
        **policy: Any,
    ) -> Any:
        return self._assert(self.is_received, list(ids), interval, desc, policy)

    def assert_result_tasks_in_progress_or_completed(
        self,
        async_results: Iterable[AsyncResult[Any]],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be started or completed",
        **policy: Any,
    ) -> Any:
        return self._assert(_have_begun, list(async_results), interval, desc, policy)

    def wait_until_idle(self) -> None:
        """Wait until no worker runs a task, and purge what waits."""
        self.app.control.purge()
        self.wait_for(lambda: self.true_or_raise(self._is_idle), Sentinel, "workers to be idle")

    def _is_idle(self) -> bool:
        return not any((self.inspect(0.5).active() or {}).values())

    def _are_in(self, wanted: Sequence[str], ids: list[str]) -> bool:
        known = self.query_task_states(ids)
        found = {id for state in wanted for id in known.get(state, ())}
        # No worker of ours remembers what is over: its result does.
        return all(id in found or self.app.AsyncResult(id).ready() for id in ids)

    def _assert(
        self,
        fun: Callable[..., bool],
        given: list[Any],
        interval: float,
        desc: str,
        policy: Mapping[str, Any],
    ) -> Any:
        return self.wait_for(
            lambda: self.true_or_raise(fun, given),
            (Sentinel, CeleriacError),
            desc,
            interval_start=interval,
            **policy,
        )


def _have_begun(results: Iterable[AsyncResult[Any]]) -> bool:
    return all(result.state in (states.STARTED, *states.READY_STATES) for result in results)


class Manager(ManagerMixin):
    """The words, for an app."""

    def __init__(self, app: Celery, **kwargs: Any) -> None:
        self.app = app
