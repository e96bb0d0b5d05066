"""An app with a task that may run five times a second; each run is a line in the file LEDGER."""

from __future__ import annotations

import os
import time

from celeriac import Celery

app = Celery("limited", broker=os.environ["STORE"], backend=os.environ["STORE"])


@app.task(rate_limit="5/s")
def slow() -> None:
    descriptor = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{time.time()}\n".encode())
    os.close(descriptor)


@app.task
def free() -> float:
    return time.time()
