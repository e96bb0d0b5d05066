"""`celeriac events`: watch tasks and workers live, print each event, or let a camera look."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from celeriac.cli.daemon import become, detach, detachable
from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.cli.values import level
from celeriac.events.dumper import Dumper
from celeriac.events.event import Fields
from celeriac.events.receiver import EventReceiver

#: Imported only when a person looks: rich takes 50 ms. The other with what a service needs, for a camera.
_MONITOR, _CAMERA = "celeriac.cli.monitor", "celeriac.cli.camera"


@click.command()
@click.option("-d", "--dump", is_flag=True, help="Print each event as a line.")
@click.option("--json", "as_json", is_flag=True, help="The same, each as a JSON object.")
@click.option("-c", "--camera", metavar="MODULE.CLASS", help="Show the state to this camera, every so often.")
@click.option(
    "-F",
    "--frequency",
    "--freq",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    metavar="SECONDS",
    help="Between two pictures. [1]",
)
@click.option("-r", "--maxrate", metavar="RATE", help="No more pictures than this, as in 10/m.")
@click.option("-D", "--detach", is_flag=True, help="With -c: go to the background.")
@click.option(
    "-l",
    "--loglevel",
    type=level,
    metavar="LEVEL",
    default="INFO",
    help="With -c: how much is logged. [INFO]",
)
@click.option("-f", "--logfile", metavar="FILE", help="With -c: log to this file, also what it prints.")
@click.option("--pidfile", metavar="FILE", help="With -c: write the process number here.")
@click.option("--uid", metavar="USER", help="With -c: run as this user.")
@click.option("--gid", metavar="GROUP", help="With -c: run as this group.")
@click.option("--umask", metavar="OCTAL", help="With -c: file mode mask of files that are made.")
@pass_invocation
def events(invocation: Invocation, /, dump: bool, as_json: bool, camera: str | None, **said: Any) -> None:
    """Watch tasks and workers live. Workers tell of tasks with -E, or after `control enable_events`.

    Keys: j and k (or arrows) choose a task, i shows it, t its traceback, r its result, c revokes it,
    l sets a rate limit, e lets all workers tell of their tasks, q ends.
    """
    if camera is not None:
        _take_pictures(invocation, camera, said)
        return
    if said["detach"]:
        raise click.UsageError("-D/--detach is for cameras: nobody reads a dump in the background. Add -c")
    app = invocation.app
    try:
        if as_json:
            EventReceiver(handlers={"*": _print_json}, app=app).capture()
        elif dump or not can_be_painted():
            EventReceiver(handlers={"*": Dumper().on_event}, app=app).capture()
        else:
            import_module(_MONITOR).Monitor(app).run()
    except KeyboardInterrupt:
        click.echo(err=True)


def can_be_painted() -> bool:
    """Whether there is a terminal, and one whose cursor can be moved."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def _take_pictures(invocation: Invocation, camera: str, said: dict[str, Any]) -> None:
    settled: Callable[[], None] = lambda: None
    if said["detach"]:
        detachable(said["logfile"])
        settled = detach()
    become(said["uid"], said["gid"], said["umask"])
    named = {name: said[name] for name in ("frequency", "maxrate", "loglevel", "logfile", "pidfile")}
    service = import_module(_CAMERA)
    options = service.CameraOptions(camera=camera, no_color=invocation.no_color, **named)
    try:
        service.run(invocation.app, options, settled)
    except KeyboardInterrupt:
        click.echo(err=True)


def _print_json(event: Fields) -> None:
    click.echo(json.dumps(event, default=repr))
