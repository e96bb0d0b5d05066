"""The app of a later deployment: it knows a task that the one before does not."""

from __future__ import annotations

from celeriac import Celery

app = Celery("learned", task_unknown_delay=0.5)


@app.task(name="main.of_tomorrow")
def of_tomorrow() -> str:
    return "known at last"
