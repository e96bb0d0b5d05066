"""`celeriac queue` and `celeriac purge`: see what waits, and remove it."""

from __future__ import annotations

import sys

import click

from celeriac.cli import values
from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.cli.messages import describe
from celeriac.cli.table import json_option, show, show_json


@click.group()
def queue() -> None:
    """See what waits in the queues, and remove it."""


@queue.command("list", short_help="Every queue with its counts.")
@json_option
@pass_invocation
def list_queues(invocation: Invocation, as_json: bool) -> None:
    """Every queue with its counts: ready, delayed (an ETA to come), claimed (running) and dead."""
    broker = invocation.app.broker
    paused = set(broker.paused())
    names = sorted({*broker.queues(), *paused, invocation.app.conf.task_default_queue})
    rows = [
        {
            "queue": name,
            "ready": depth.ready,
            "delayed": depth.delayed,
            "claimed": depth.claimed,
            "dead": depth.dead,
            "paused": "yes" if name in paused else None,
        }
        for name, depth in broker.depth(names).items()
    ]
    show(
        ("queue", "ready", "delayed", "claimed", "dead", "paused"),
        rows,
        as_json=as_json,
        nothing="No queues.",
    )


@queue.command(short_help="The tasks that are next in queue NAME.")
@click.argument("name")
@click.option("-n", "number", type=click.IntRange(min=1), default=10, show_default=True, help="How many.")
@json_option
@pass_invocation
def peek(invocation: Invocation, name: str, number: int, as_json: bool) -> None:
    """The first tasks that wait in queue NAME, the next one to run first. Nothing is moved.

    The age is in seconds; messages of Celery's own producers do not tell it.
    """
    rows = [describe(payload) for payload in invocation.app.broker.peek(name, number)]
    columns = ("id", "name", "args", "kwargs", "eta", "retries", "age")
    show(columns, rows, as_json=as_json, nothing=f"Nothing waits in {name}.")


@queue.command(short_help="Begin nothing more of the queues NAMES.")
@click.argument("names", nargs=-1, required=True)
@json_option
@pass_invocation
def pause(invocation: Invocation, names: tuple[str, ...], as_json: bool) -> None:
    """No worker, now or later, begins a task of the queues NAMES until they are resumed."""
    for name in names:
        invocation.app.control.pause(name)
        if not as_json:
            click.echo(f"{name} is paused. What runs goes on; `celeriac queue resume {name}` ends the pause.")
    if as_json:
        show_json({"paused": invocation.app.broker.paused()})


@queue.command()
@click.argument("names", nargs=-1, required=True)
@json_option
@pass_invocation
def resume(invocation: Invocation, names: tuple[str, ...], as_json: bool) -> None:
    """The queues NAMES are served again."""
    for name in names:
        invocation.app.control.resume(name)
        if not as_json:
            click.echo(f"{name} is served again.")
    if as_json:
        show_json({"paused": invocation.app.broker.paused()})


@queue.command()
@click.argument("name")
@click.option(
    "-t", "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer. [for ever]"
)
@json_option
@pass_invocation
def drain(invocation: Invocation, name: str, timeout: float | None, as_json: bool) -> None:
    """Pause queue NAME and wait until nothing of it runs any more."""
    running = invocation.app.control.drain(name, timeout)
    if as_json:
        show_json({"paused": invocation.app.broker.paused(), "running": running})
        sys.exit(1 if running else 0)
    if running:
        raise click.ClickException(f"{name} is paused, and {running} of its tasks still run.")
    click.echo(f"{name} is paused, and nothing of it runs. `celeriac queue resume {name}` ends the pause.")


@queue.command("purge")
@click.argument("names", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@json_option
@pass_invocation
def purge_queues(invocation: Invocation, names: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Remove what waits in the queues NAMES. There is no undo."""
    _purge(invocation, names, force=force, as_json=as_json)


@click.command()
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("-Q", "--queues", type=values.names, metavar="A,B,...", help="Only these queues.")
@click.option(
    "-X", "--exclude-queues", type=values.names, metavar="A,B,...", help="All known queues but these."
)
@json_option
@pass_invocation
def purge(
    invocation: Invocation,
    force: bool,
    queues: tuple[str, ...] | None,
    exclude_queues: tuple[str, ...] | None,
    as_json: bool,
) -> None:
    """Remove what waits in all queues, or in those of -Q. There is no undo."""
    names = queues or tuple(sorted({*invocation.app.broker.queues(), invocation.app.conf.task_default_queue}))
    kept = tuple(name for name in names if name not in (exclude_queues or ()))
    _purge(invocation, kept, force=force, as_json=as_json)


def _purge(invocation: Invocation, names: tuple[str, ...], *, force: bool, as_json: bool) -> None:
    if not force:
        click.echo(
            f"All tasks that wait in {', '.join(names) or 'no queue'} will be removed. There is no undo.",
            err=True,
        )
        click.confirm("Remove them?", abort=True, err=True)
    removed = {name: invocation.app.purge([name]) for name in names}
    if as_json:
        show_json(removed)
        return
    total = sum(removed.values())
    known = f"{len(names)} known task queue{'' if len(names) == 1 else 's'}"
    if total:
        click.echo(f"Purged {total} message{'' if total == 1 else 's'} from {known}.")
    else:
        click.echo(f"No messages purged from {known}.")
