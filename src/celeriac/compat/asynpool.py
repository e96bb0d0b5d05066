"""`celery.concurrency.asynpool`: the number that programs set there, which nothing here needs."""

from __future__ import annotations

#: Seconds for which Celery waits for a new process to say that it is up. Our supervisor waits for none.
PROC_ALIVE_TIMEOUT = 4.0
