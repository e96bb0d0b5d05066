"""`celeriac check`: load the app, and say what it can run and what is wrong with it."""

from __future__ import annotations

import sys

import click
from msgspec.structs import asdict

from celeriac.checking import findings, import_all, served
from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.cli.table import json_option, show_json


@click.command()
@json_option
@pass_invocation
def check(invocation: Invocation, as_json: bool) -> None:
    """Load the app: list what each queue can run, modules that fail, settings that contradict each other.

    Nothing is sent and no server is asked. Exit code 1 if there is an error.
    """
    app = invocation.app
    broken = list(import_all(app))
    app.finalize()
    app.adopt_shared()
    found = [*broken, *findings(app)]
    queues = served(app)
    failed = any(finding.grade == "error" for finding in found)
    if as_json:
        show_json({"queues": [asdict(queue) for queue in queues], "findings": [asdict(one) for one in found]})
        sys.exit(int(failed))
    for queue in queues:
        where = "" if queue.by_default else f"   (only with -Q {queue.queue})"
        click.echo(f"queue {queue.queue}{where}")
        for name in queue.tasks:
            click.echo(f"  {name}")
        if not queue.tasks:
            click.echo("  (no tasks)")
    if found:
        click.echo()
    for finding in found:
        click.echo(f"{finding.grade}: {finding.about}: {finding.says}")
    count = sum(finding.grade == "error" for finding in found)
    click.echo(
        f"\n{count} error{'' if count == 1 else 's'}, {len(found) - count} more to know."
        if found
        else "\nAll well."
    )
    sys.exit(int(failed))
