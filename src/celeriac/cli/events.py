"""`celeriac events`: watch tasks and workers live, print each event, or let a camera look."""

from __future__ import annotations

import json
import sys
from importlib import import_module

import click

from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.events.dumper import Dumper
from celeriac.events.event import Fields
from celeriac.events.receiver import EventReceiver
from celeriac.events.snapshot import evcam

#: Imported only when a person looks: rich takes 50 ms.
_MONITOR = "celeriac.cli.monitor"


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
@click.option("-l", "--loglevel", metavar="LEVEL", help="Accepted, without effect.")
@pass_invocation
def events(
    invocation: Invocation,
    dump: bool,
    as_json: bool,
    camera: str | None,
    frequency: float,
    maxrate: str | None,
    loglevel: str | None,
) -> None:
    """Watch tasks and workers live. Workers tell of tasks with -E, or after `control enable_events`.

    Keys: j and k (or arrows) choose a task, i shows it, t its traceback, r its result, c revokes it,
    l sets a rate limit, q ends.
    """
    app = invocation.app
    try:
        if camera is not None:
            evcam(camera, freq=frequency, maxrate=maxrate, app=app)
        elif as_json:
            EventReceiver(handlers={"*": _print_json}, app=app).capture()
        elif dump or not (sys.stdin.isatty() and sys.stdout.isatty()):
            EventReceiver(handlers={"*": Dumper().on_event}, app=app).capture()
        else:
            import_module(_MONITOR).Monitor(app).run()
    except KeyboardInterrupt:
        click.echo(err=True)


def _print_json(event: Fields) -> None:
    click.echo(json.dumps(event, default=repr))
