"""Tasks that look by themselves whether somebody wants them to end: Celery's `contrib.abortable`.

    @app.task(bind=True, base=AbortableTask)
    def long(self):
        while not self.is_aborted():
            ...

    AbortableAsyncResult(id).abort()

`result.revoke(terminate=True)` ends a task that does not look.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celeriac.message import Result
from celeriac.result import AsyncResult
from celeriac.task import Task
from celeriac.wire.result import encode_result

#: The state of a task that shall end; not one of those in which it has ended.
ABORTED = "ABORTED"


class AbortableAsyncResult(AsyncResult[Any]):
    """A result whose task may be asked to end."""

    def is_aborted(self) -> bool:
        """Somebody asked it to end, and it has not ended yet."""
        return self.state == ABORTED

    def abort(self) -> None:
        """Ask it to end."""
        store = self.app.results
        if store is None:
            raise RuntimeError("results are off, so a task cannot be told: set result_backend")
        conf = self.app.conf
        payload = encode_result(
            task_id=self.id,
            status=ABORTED,
            result=None,
            date_done=datetime.now(UTC).isoformat(),
            serializer=conf.result_serializer,
        )
        store.update(Result(self.id, payload, conf.seconds("result_expires") or None), self.app.is_end)


class AbortableTask(Task[Any, Any]):
    """The base of tasks that look whether they shall end."""

    abstract = True

    def AsyncResult(self, task_id: str, **options: Any) -> AbortableAsyncResult:
        return AbortableAsyncResult(task_id, task_name=self.name, app=self.app, **options)

    def is_aborted(self, **named: Any) -> bool:
        """Whether this run (or that of `task_id`) shall end; asks the store each time."""
        return self.AsyncResult(str(named.get("task_id") or self.request.id)).is_aborted()
