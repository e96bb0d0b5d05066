"""The task that shows that a worker works."""

from __future__ import annotations

from celeriac.shared import shared_task


@shared_task(name="celery.ping")
def ping() -> str:
    """Say that somebody is there."""
    return "pong"
