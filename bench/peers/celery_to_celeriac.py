"""A stock Celery client that sends to celeriac's worker."""

from __future__ import annotations

from celery import Celery
from peers import work

app = Celery("peers.celeriac", broker=work.BROKER)
app.conf.task_ignore_result = True


def stamp():
    app.send_task("peers.celeriac.stamp_")
