"""The coroutines of this project, in an app of their own: who has none has no asyncio in its memory."""

from __future__ import annotations

import asyncio

from celeriac import Celery
from peers import work

app = Celery("peers.celeriac_async", broker=work.BROKER, backend=work.BROKER if work.RESULTS else None)
app.conf.task_ignore_result = not work.RESULTS


@app.task
async def nap(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return work.append()


@app.task
async def append() -> int:
    return work.append()
