"""An app that starts a thread while it is imported, which a fork would lose."""

from __future__ import annotations

import threading
from queue import SimpleQueue

from celeriac import Celery

app = Celery("threaded")
asked: SimpleQueue[SimpleQueue[str]] = SimpleQueue()


def answer() -> None:
    while True:
        asked.get().put("the thread lives")


threading.Thread(target=answer, daemon=True).start()


@app.task
def ask_the_thread() -> str:
    reply: SimpleQueue[str] = SimpleQueue()
    asked.put(reply)
    return reply.get(timeout=5)
