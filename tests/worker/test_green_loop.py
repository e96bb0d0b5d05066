"""The event loop of a pool of greenlets, which all run on the loop's own thread."""

from __future__ import annotations

import subprocess
import sys

CODE = """
from gevent import monkey

monkey.patch_all()

import asyncio
import threading

from celeriac.worker.runners.greenlets import GreenLoop
from celeriac.worker.runners.loop import Loop

here = Loop(GreenLoop)
loop = here.opened()
future = loop.create_future()
waits = threading.Event()


async def wait():
    waits.set()
    return await future


value = asyncio.run_coroutine_threadsafe(wait(), loop)
waits.wait(10)  # this greenlet goes on when that of the loop has fallen asleep
future.set_result("woken")
print(value.result(10))
here.stop()
"""


def test_a_loop_that_sleeps_is_woken_by_another_greenlet_of_its_thread() -> None:
    # From Python 3.14 on asyncio itself makes futures good like this, for `run_in_executor` among others.
    shown = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=30)
    assert (shown.stdout, shown.stderr) == ("woken\n", "")
