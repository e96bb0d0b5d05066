"""Celery's module paths: which of our modules answers for which of them, and the finder that serves them.

The drop-in distribution installs it for the name `celery`; celeriac itself never does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: A path of Celery's, and where its names are found: the first module that has the name gives it.
MODULES: dict[str, tuple[str, ...]] = {
    "celery._state": ("celeriac.compat.state",),
    "celery.app": ("celeriac.compat.app",),
    "celery.app.amqp": ("celeriac.compat.amqp",),
    "celery.app.base": ("celeriac.compat.app",),
    "celery.app.control": ("celeriac.control",),
    "celery.app.defaults": ("celeriac.compat.defaults",),
    "celery.app.events": ("celeriac.events.access",),
    "celery.app.log": ("celeriac.log", "celeriac.compat.logs"),
    "celery.app.registry": ("celeriac.compat.app",),
    "celery.app.routes": ("celeriac.compat.amqp",),
    "celery.app.task": ("celeriac.compat.task",),
    "celery.app.trace": ("celeriac.compat.trace",),
    "celery.apps": ("celeriac.compat",),
    "celery.apps.beat": ("celeriac.compat.programs",),
    "celery.apps.worker": ("celeriac.compat.programs",),
    "celery.app.utils": (
        "celeriac.compat.app",
        "celeriac.config",
    ),
    "celery.backends": ("celeriac.compat.backends",),
    "celery.backends.base": (
        "celeriac.compat.backends.base",
        "celeriac.compat.backends.custom",
    ),
    "celery.backends.redis": ("celeriac.compat.backends.redis",),
    "celery.beat": ("celeriac.compat.beat",),
    "celery.bootsteps": ("celeriac.compat.bootsteps",),
    "celery.canvas": ("celeriac.canvas",),
    "celery.concurrency": ("celeriac.compat",),
    "celery.concurrency.asynpool": ("celeriac.compat.asynpool",),
    "celery.contrib": ("celeriac.compat",),
    "celery.contrib.abortable": ("celeriac.compat.abortable",),
    "celery.contrib.django": ("celeriac.compat",),
    "celery.contrib.django.task": ("celeriac.compat.django",),
    "celery.contrib.migrate": ("celeriac.compat.migrate",),
    "celery.contrib.pytest": ("celeriac.testing.plugin",),
    "celery.contrib.rdb": ("celeriac.compat.rdb",),
    "celery.contrib.sphinx": ("celeriac.compat.sphinx",),
    "celery.contrib.testing": ("celeriac.testing",),
    "celery.contrib.testing.app": ("celeriac.testing.app",),
    "celery.contrib.testing.manager": ("celeriac.compat.manager",),
    "celery.contrib.testing.mocks": ("celeriac.compat.mocks",),
    "celery.contrib.testing.tasks": ("celeriac.testing.tasks",),
    "celery.contrib.testing.worker": ("celeriac.testing.worker",),
    "celery.events": ("celeriac.events",),
    "celery.events.dispatcher": ("celeriac.events.dispatcher",),
    "celery.events.dumper": ("celeriac.events.dumper",),
    "celery.events.event": ("celeriac.events.event",),
    "celery.events.receiver": ("celeriac.events.receiver",),
    "celery.events.snapshot": ("celeriac.events.snapshot",),
    "celery.events.state": ("celeriac.events.state",),
    "celery.exceptions": ("celeriac.exceptions",),
    "celery.fixups": ("celeriac.compat",),
    "celery.fixups.django": ("celeriac.compat.django",),
    "celery.local": ("celeriac.compat.local",),
    "celery.loaders": ("celeriac.compat",),
    "celery.loaders.app": ("celeriac.compat.loader",),
    "celery.loaders.base": ("celeriac.compat.loader",),
    "celery.platforms": ("celeriac.compat.platforms",),
    "celery.registry": ("celeriac.compat.registered",),
    "celery.result": (
        "celeriac.result",
        "celeriac.resultset",
        "celeriac.compat.results",
    ),
    "celery.schedules": ("celeriac.schedules",),
    "celery.signals": ("celeriac.signals",),
    "celery.states": ("celeriac.states",),
    "celery.utils": ("celeriac.compat.utils",),
    "celery.utils.abstract": ("celeriac.compat.abstract",),
    "celery.utils.collections": (
        "celeriac.compat.containers",
        "celeriac.compat.functional",
    ),
    "celery.utils.dispatch": ("celeriac.signals",),
    "celery.utils.dispatch.signal": ("celeriac.signals",),
    "celery.utils.functional": ("celeriac.compat.functional",),
    "celery.utils.graph": ("celeriac.graph",),
    "celery.utils.imports": ("celeriac.compat.imports",),
    "celery.utils.iso8601": ("celeriac.compat.times",),
    "celery.utils.log": (
        "celeriac.log",
        "celeriac.compat.loggers",
    ),
    "celery.utils.nodenames": ("celeriac.compat.nodenames",),
    "celery.utils.objects": ("celeriac.compat.containers",),
    "celery.utils.saferepr": ("celeriac.compat.saferepr",),
    "celery.utils.serialization": (
        "celeriac.compat.serialization",
        "celeriac.compat.unpicklable",
    ),
    "celery.utils.text": ("celeriac.compat.texts",),
    "celery.utils.time": ("celeriac.compat.times",),
    "celery.worker": ("celeriac.compat.programs",),
    "celery.worker.control": ("celeriac.compat.remote",),
    "celery.worker.worker": ("celeriac.compat.programs",),
    "celery.worker.request": ("celeriac.compat.incoming",),
}

#: What stands in the place of Celery's modules that have no likeness here.
INSTEAD: dict[str, str] = {
    "celery.backends": "result stores are drivers, found by the URL in result_backend; one of your own is a "
    "subclass of celery.backends.base.KeyValueStoreBackend or BaseDictBackend",
    "celery.bin": "the command line is celeriac's own: app.worker_main([...]) and app.start([...]) run it, "
    "the entry point celery.commands adds to it",
    "celery.bootsteps": "a worker is not put together from blueprints; steps that start and stop are there",
    "celery.concurrency": "a pool is chosen by -P: prefork, threads, gevent, asyncio, solo",
    "celery.decorators": "Celery 5 has it no more either: from celery import shared_task",
    "celery.loaders": "what declares tasks is named by include, imports and autodiscover_tasks",
    "celery.messaging": "Celery 5 has it no more either: app.send_task sends",
    "celery.security": "signed messages are not there yet",
    "celery.task": "Celery 5 has it no more either: from celery import shared_task, Task; from "
    "celery.schedules import crontab; app.control for what celery.task.control did",
    "celery.utils.timer2": "what waits for a time waits in the broker",
    "celery.worker.state": "every child of a worker claims for itself: app.control.inspect() tells of all, "
    ".active() what runs and .stats()['total'] what has run",
    "celery.worker": "a worker is started by app.worker_main([...]); in tests by celeriac.testing.worker",
}


#: The same for kombu; served only where no kombu is installed.
KOMBU: dict[str, tuple[str, ...]] = dict.fromkeys(
    (
        "kombu",
        "kombu.common",
        "kombu.entity",
        "kombu.exceptions",
        "kombu.messaging",
        "kombu.utils.uuid",
    ),
    ("celeriac.compat.kombu",),
) | dict.fromkeys(
    ("kombu.utils", "kombu.utils.encoding", "kombu.utils.json", "kombu.utils.objects", "kombu.utils.url"),
    ("celeriac.compat.kombu", "celeriac.compat.kombu_utils"),
)
KOMBU["kombu.serialization"] = ("celeriac.compat.kombu_serialization", "celeriac.compat.kombu")
KOMBU["kombu.utils.functional"] = ("celeriac.compat.functional",)
KOMBU["kombu.utils.imports"] = ("celeriac.compat.imports",)

#: The same for billiard, whose errors OpenTelemetry's instrumentation of Celery knows by their class.
BILLIARD: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("billiard", "billiard.einfo", "billiard.exceptions", "billiard.pool", "billiard.process"),
    ("celeriac.compat.billiard",),
)


class Alias(ModuleType):
    """A module of Celery's name with the very objects of ours.

    What is read, set or deleted here is read, set or deleted there, so patching by the old path takes effect.
    """

    _targets: tuple[ModuleType, ...] = ()

    def __getattr__(self, name: str) -> Any:
        for target in self._targets:
            if hasattr(target, name):
                return getattr(target, name)
        return submodule(self.__name__, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system hangs submodules, and what it knows of a module, onto the alias itself.
        if name.startswith("__") or isinstance(value, ModuleType):
            super().__setattr__(name, value)
        else:
            setattr(self._owner(name) or self._targets[0], name, value)

    def __delattr__(self, name: str) -> None:
        owner = self._owner(name)
        if owner is None or name in self.__dict__:
            super().__delattr__(name)
        else:
            delattr(owner, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for target in self._targets for name in dir(target))})

    def _owner(self, name: str) -> ModuleType | None:
        return next((target for target in self._targets if hasattr(target, name)), None)


class NameFinder(MetaPathFinder, Loader):
    """Finds one package and what is in it, and nothing else. What celeriac lacks is an ImportError that says
    so."""

    def __init__(self, package: str, modules: dict[str, tuple[str, ...]]) -> None:
        self._package = package
        self._modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._package and not fullname.startswith(self._package + "."):
            return None
        if path and self._package in self._modules:
            return None  # a part of the true package, which was found before us
        if fullname in self._modules:
            # A package in name: so the import system asks this finder for names that are not there, too.
            return ModuleSpec(fullname, self, is_package=True)
        if fullname in ("celery", "celery.__main__"):
            return None
        raise ImportError(_not_offered(fullname), name=fullname)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = Alias(spec.name)
        targets = tuple(_import_target(name, spec.name) for name in self._modules[spec.name])
        # pytest looks for its hooks in the module itself, and asks no __getattr__.
        hooks = {name: hook for name, hook in vars(targets[0]).items() if name.startswith("pytest_")}
        # Not that of its target: the files there would be found under Celery's names, and be loaded twice.
        module.__dict__.update(_targets=targets, __path__=[], __doc__=targets[0].__doc__, **hooks)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the names are looked up when they are asked for."""


def install() -> None:
    """Serve `celery.*` in this process, and `kombu.*` and `billiard.*` if there are none; may be called
    twice."""
    if any(isinstance(finder, NameFinder) for finder in sys.meta_path):
        return
    # Last, so that what is installed is found before; and so that those who want to hear of imports do.
    sys.meta_path.append(NameFinder("celery", MODULES))
    sys.meta_path.append(NameFinder("kombu", KOMBU))
    sys.meta_path.append(NameFinder("billiard", BILLIARD))


def submodule(package: str, name: str) -> ModuleType:
    """`package.name` for one who has imported the package alone; AttributeError if it is none of ours."""
    if all(f"{package}.{name}" not in known for known in (MODULES, KOMBU, BILLIARD)):
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    try:
        return import_module(f"{package}.{name}")
    except ImportError as missing:
        raise AttributeError(str(missing)) from missing


def _import_target(name: str, asked: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name != name:
            raise
        raise ImportError(_not_offered(asked), name=asked) from missing


def _not_offered(name: str) -> str:
    parts = name.split(".")
    paths = (".".join(parts[:length]) for length in range(len(parts), 1, -1))
    instead = next((INSTEAD[path] for path in paths if path in INSTEAD), None)
    why = f": {instead}" if instead else " yet"
    return f"celeriac does not offer {name}{why}; see docs/celery-differences.md"
