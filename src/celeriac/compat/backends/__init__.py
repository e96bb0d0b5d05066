"""`app.backend`: the results of an app in the words of Celery's backends.

What programs ask of a backend is answered by `app.results` and `app.waiting`, which know nothing of it.
"""

from __future__ import annotations

from celeriac.app import Celery
from celeriac.compat.backends.base import Backend, DisabledBackend
from celeriac.compat.backends.redis import RedisBackend

__all__ = ["Backend", "DisabledBackend", "RedisBackend", "backend_of"]

_REDIS = ("redis", "rediss", "redis+socket")


def backend_of(app: Celery) -> Backend:
    """The backend that fits the store of this app."""
    url = app.result_url
    if not url:
        return DisabledBackend(app)
    kind = RedisBackend if url.partition(":")[0].lower() in _REDIS else Backend
    return kind(app, url=url)
