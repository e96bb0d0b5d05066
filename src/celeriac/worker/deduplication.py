"""`worker_deduplicate_successful_tasks`: what comes a second time and succeeded the first time does not run.

With the results in the store of the messages it cannot happen, since both are settled in one step. It can
with two stores, or if a stock worker of Celery had the message before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from celeriac import states
from celeriac.middleware import Middleware, Run
from celeriac.wire.result import decode_result

_log = logging.getLogger("celery.worker.consumer.consumer")


class Deduplication(Middleware):
    """Answers a redelivered task with its stored value."""

    def around_run(self, run: Run) -> Iterator[None]:
        request, app = run.request, run.task.app
        if request.delivery_info["redelivered"] and app.results is not None:
            (payload,) = app.results.load([request.id])
            meta = (
                decode_result(payload, app.conf.result_accept_content or app.conf.accept_content)
                if payload
                else {}
            )
            if meta.get("status") == states.SUCCESS:
                _log.info(
                    "Task %s[%s] succeeded before it was delivered again: not run", run.task.name, request.id
                )
                run.value = meta["result"]
                return
        yield
