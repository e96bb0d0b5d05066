"""`celeriac shell`: an interactive Python with the app and its tasks at hand."""

from __future__ import annotations

import code
import sys
from importlib import import_module
from typing import Any

import click

from celeriac import canvas
from celeriac.app import Celery
from celeriac.cli.invocation import Invocation, pass_invocation

_GREETING = (
    "app (and celery) is the app; add.delay(1, 2) sends a task; group, chain, chord and signature are here."
)


@click.command()
@click.option("-I", "--ipython", "wanted", flag_value="ipython", help="IPython, or nothing.")
@click.option("-B", "--bpython", "wanted", flag_value="bpython", help="bpython, or nothing.")
@click.option("--python", "wanted", flag_value="python", help="Plain Python.")
@click.option("-T", "--without-tasks", is_flag=True, help="Leave the tasks out.")
@click.option("--gevent", is_flag=True, help="Patch the standard library for gevent first.")
@pass_invocation
def shell(invocation: Invocation, wanted: str | None, without_tasks: bool, gevent: bool) -> None:
    """An interactive Python with the app and its tasks at hand; IPython or bpython if they are installed.

    Commands that are piped in are run without a prompt.
    """
    names = names_for(invocation.app, with_tasks=not without_tasks)
    if not sys.stdin.isatty():
        exec(compile(sys.stdin.read(), "<stdin>", "exec"), names)  # noqa: S102 - that is what a shell is for
        return
    for kind in [wanted] if wanted else ["ipython", "bpython", "python"]:
        if _open(kind, names):
            return
    raise click.UsageError(f"{wanted} is not installed: pip install {wanted}, or leave the option out")


def names_for(app: Celery, *, with_tasks: bool) -> dict[str, Any]:
    """What is at hand."""
    app.import_modules()
    app.finalize()
    names: dict[str, Any] = {"app": app, "celery": app}
    for name in ("group", "chain", "chord", "signature", "xmap", "xstarmap", "chunks"):
        if hasattr(canvas, name):
            names[name] = getattr(canvas, name)
    if with_tasks:
        names |= {
            task.name.rpartition(".")[2]: task
            for task in app.tasks.values()
            if not task.name.startswith("celery.")
        }
    return names


def _open(kind: str, names: dict[str, Any]) -> bool:
    """Run this kind of shell to its end; False if it is not installed."""
    try:
        if kind == "ipython":
            import_module("IPython").start_ipython(argv=[], user_ns=names)
        elif kind == "bpython":
            import_module("bpython").embed(names)
        else:
            code.interact(banner=f"Python {sys.version.split()[0]}. {_GREETING}", local=names, exitmsg="")
    except ModuleNotFoundError as missing:
        if missing.name not in ("IPython", "bpython"):
            raise
        return False
    return True
