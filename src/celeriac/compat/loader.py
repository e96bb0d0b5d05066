"""`app.loader`: imports the modules that declare tasks, in the words of Celery's loaders.

    app.loader.import_default_modules()     # in a test of what a worker would know

Nothing here needs it, so a loader of one's own is not asked; what it did is done by signals: `worker_init`,
`worker_process_init`, `task_prerun`.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from celeriac.app import Celery

__all__ = ["AppLoader", "BaseLoader"]


class BaseLoader:
    """Of one app."""

    def __init__(self, app: Celery, **_: Any) -> None:
        self.app = app
        self.task_modules: set[str] = set()

    @property
    def conf(self) -> Any:
        return self.app.conf

    def import_default_modules(self) -> list[ModuleType]:
        """Import all that imports, include and autodiscover_tasks name, as a worker does."""
        self.app.import_modules()
        return [import_module(name) for name, may_be_missing in self.app.task_modules() if not may_be_missing]

    def import_task_module(self, module: str) -> ModuleType:
        self.task_modules.add(module)
        return import_module(module)

    def import_module(self, module: str, package: str | None = None) -> ModuleType:
        return import_module(module, package)

    import_from_cwd = import_module

    def autodiscover_tasks(self, packages: Any, related_name: str | None = "tasks") -> None:
        """Import them now."""
        self.app.autodiscover_tasks(packages, related_name, force=True)

    def now(self, utc: bool = True) -> Any:
        return self.app.now()

    def init_worker(self) -> None:
        """As a worker that starts."""
        self.import_default_modules()


class AppLoader(BaseLoader):
    """The one that there is."""
