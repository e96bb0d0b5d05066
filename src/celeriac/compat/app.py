"""`celery.app` and what lies beside it: the app class, its registry, and how to come by an app."""

from __future__ import annotations

from celeriac.app import Celery
from celeriac.current import current_app, get_current_app
from celeriac.registry import TaskRegistry
from celeriac.shared import shared_task

__all__ = ["App", "Celery", "TaskRegistry", "app_or_default", "bugreport", "default_app", "shared_task"]

App = Celery
#: Whatever app is current when it is used.
default_app = current_app


def app_or_default(app: Celery | None = None) -> Celery:
    """The app itself, or the current one where there is none."""
    found: Celery = get_current_app() if app is None else app
    return found


def bugreport(app: Celery | None = None) -> str:
    """What to tell somebody who shall help you, of this app or the current one."""
    return app_or_default(app).bugreport()
