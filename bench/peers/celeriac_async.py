"""The coroutines of this project, in a file of their own: who has none has no asyncio in its memory."""

from __future__ import annotations

import asyncio

from celeriac import shared_task
from peers import work


@shared_task
async def nap(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return work.append()


@shared_task
async def append() -> int:
    return work.append()
