"""`celery.worker.request`: a task's request under its name there, for who tests or names its type."""

from __future__ import annotations

from celeriac.request import Request

__all__ = ["Request"]
