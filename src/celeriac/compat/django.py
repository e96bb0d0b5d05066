"""Celery's fixup for Django: what an app does beside the code of a site, if DJANGO_SETTINGS_MODULE is set.

    app = Celery("proj")
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.autodiscover_tasks()                # of all installed apps

    notify.delay_on_commit(order.pk)        # sent when the transaction is through, if it is

Django itself is imported when a worker imports the tasks, and not before. Connections to databases that are
old or broken are closed around each task, as Django does around each request, and before a worker forks.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import warnings
from functools import partial
from typing import Any

from celeriac import signals
from celeriac.app import Celery
from celeriac.exceptions import FixupWarning
from celeriac.task import Task

__all__ = ["DjangoFixup", "DjangoTask", "Site", "fixup"]

_log = logging.getLogger("celery.fixups.django")


class DjangoTask(Task[Any, Any]):
    """The class of all tasks of a site, unless it has another one."""

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """`delay` when the transaction that is open is through; at once if none is, never if it fails."""
        _on_commit(partial(self.delay, *args, **kwargs))

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """The same for `apply_async`."""
        _on_commit(partial(self.apply_async, *args, **kwargs))


class Site:
    """The site that an app belongs to. It hears its app's workers and tasks, and no others."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._is_ready = False
        signals.worker_init.connect(self.check)
        signals.worker_before_create_process.connect(self.leave_no_connections)
        signals.task_prerun.connect(self.close_old_connections)
        signals.task_postrun.connect(self.close_what_a_request_would)

    def prepare(self) -> None:
        """Have Django ready for the modules that declare tasks: they import models."""
        if not self._is_ready:
            import django
            from django.apps import apps

            if not apps.ready:
                django.setup()
            self._is_ready = True

    def packages(self) -> list[str]:
        """Where tasks are looked for: in the installed apps."""
        self.prepare()
        from django.apps import apps

        return [config.name for config in apps.get_app_configs()]

    # --- around processes and tasks -----------------------------------------------------------------------

    def check(self, sender: Any, **_: Any) -> None:
        """Log what Django's own checks find."""
        if sender.app is not self._app or os.environ.get("CELERY_SKIP_CHECKS"):  # --skip-checks says it so
            return
        from django.core.checks import run_checks

        for found in run_checks():
            _log.log(found.level, "%s", found)

    def leave_no_connections(self, sender: Any, **_: Any) -> None:
        """Two processes must not speak over one connection; each opens its own."""
        database = sys.modules.get("django.db")
        if database is not None and sender.app is self._app:
            database.connections.close_all()

    def close_old_connections(self, task: Any, **_: Any) -> None:
        """Those that have become old or broken since the last task."""
        database = sys.modules.get("django.db")
        if database is not None and self._is_concerned(task):
            database.close_old_connections()

    def close_what_a_request_would(self, task: Any, **_: Any) -> None:
        """As at the end of a request: old connections, and caches."""
        self.close_old_connections(task)
        cache = sys.modules.get("django.core.cache")
        if cache is not None and self._is_concerned(task):
            cache.close_caches()

    def _is_concerned(self, task: Any) -> bool:
        """An eager task runs in the midst of what its caller does with the database."""
        return task.app is self._app and not task.request.is_eager


DjangoFixup = Site


def fixup(app: Celery, env: str = "DJANGO_SETTINGS_MODULE") -> Site | None:
    """The site that the environment names; None, with a warning, where Django is not installed."""
    if not os.environ.get(env):
        return None
    if importlib.util.find_spec("django") is None:
        warnings.warn(
            f"{env} is set, but Django is not installed: pip install django, or unset it", FixupWarning, 3
        )
        return None
    return Site(app)


def _on_commit(call: Any) -> None:
    from django.db import transaction

    transaction.on_commit(call)
