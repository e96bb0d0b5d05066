"""Imports go down and never in a circle; those in functions and under TYPE_CHECKING count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src"

#: From the ground up. A file may import what stands in its own line or above it in this list.
LAYERS = (
    "states exceptions signals clock graph importing logical panel patterns polling version nearest",
    "message",
    "planned",
    "entities",
    "ports stepping planning",
    "spreading overridden",
    "wire drivers waiting settings rates",
    "config arguments converting einfo aio",
    "queues routing request reporting",
    "middleware",
    "current log sending otel connections",
    "schedules revoking retrying",
    "conversation",
    "control",
    "seeking streaming updates",
    "events",
    "result",
    "resultset",
    "canvas",
    "eager task",
    "registry declaring",
    "builtin purging",
    "shared copies",
    "app",
    "checking bars",
    "__init__",
    "worker beat",
    "cli compat testing __main__",
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}

#: Within one layer these know nothing of each other.
STRANGERS = ({"wire", "drivers"}, {"compat", "testing"})

#: Files that may import in a function, each with its reason.
LATE_IMPORTS = {
    "celeriac.aio": "a program without a loop shall not pay for asyncio",
    "celeriac.wire.ids": "hashlib loads OpenSSL: a MiB in each worker",
    "celeriac.clock": "zoneinfo takes a quarter of a MiB, and most apps are content with UTC",
    "celeriac.drivers.redis.connection": "OpenSSL is for who speaks TLS",
    "celeriac.graph": "graphs are sorted once in a while, results are in every program",
    "celeriac.app": "reporting reads the metadata of packages, a tenth of the time of importing us",
    "celeriac.worker.errors": "the same: a worker without async tasks",
    "celeriac.worker.inline": "the same",
    "celeriac.worker.making": "a child loads the runner of its pool alone; gevent is optional",
    "celeriac.worker.start": "a worker without -B shall not pay for schedules",
    "celeriac.checking": "an app without periodic tasks shall not pay for schedules",
    "celeriac.cli.beat": "our own scheduler needs nothing of the classes that others subclass",
    "celeriac.worker.spawned": "gevent patches before anything else is imported",
    "celeriac.worker.log": "logging.handlers takes a fifth of a MiB, and most workers log to standard error",
    "celeriac.worker.health": "web server and prometheus_client are loaded in the health process alone",
    "celeriac.cli": "the same: the pool is looked for before the program is imported",
    "celeriac.cli.greenlets": "the same: here it patches",
    "celeriac.cli.reloading": "watchfiles is optional, and for development",
    "celeriac.cli.program": "plugins are looked for only where they may be meant",
    "celeriac.cli.worker": "--help and `multi` shall not wait for the engine",
    "celeriac.compat.backends.redis": "redis-py is optional: whoever asks for its client has it",
    "celeriac.compat.django": "Django wants its settings before it is imported, and is the site's own",
    "celeriac.reporting": "importlib.metadata costs every command 10 ms",
    "celeriac.cli.table": "rich is loaded only where something is shown",
}


def test_every_file_has_its_place() -> None:
    assert {layer(name) for name in graph()} == set(RANK), "give it a place in LAYERS, or take it out"


def test_imports_go_down() -> None:
    upward = [
        f"{importer} imports {imported}"
        for importer, imports in graph().items()
        for imported in imports
        if RANK[layer(imported)] > RANK[layer(importer)]
        or any({layer(importer), layer(imported)} == pair for pair in STRANGERS)
    ]
    assert not upward


def test_no_import_circle() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as circle:
        raise AssertionError(" -> ".join(circle.args[1])) from None


def test_imports_stand_at_the_top_of_their_file() -> None:
    late = {
        name
        for name, tree in modules().items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(function))
    }
    assert late == set(LATE_IMPORTS)


def test_nothing_is_hidden_under_type_checking() -> None:
    hidden = [path for path in (SOURCE / "celeriac").rglob("*.py") if "TYPE_CHECKING" in path.read_text()]
    assert not hidden


@cache
def modules() -> dict[str, ast.Module]:
    trees = {}
    for path in sorted((SOURCE / "celeriac").rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        trees[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return trees


@cache
def graph() -> dict[str, set[str]]:
    """Every file with the files of celeriac that it imports."""
    trees = modules()
    return {name: set(imported(tree, trees)) - {name} for name, tree in trees.items()}


def imported(tree: ast.Module, known: dict[str, ast.Module]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"


def layer(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"
