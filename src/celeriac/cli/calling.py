"""`celeriac call` and `celeriac result`: send a task by its name, and read what became of one."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click

from celeriac import exceptions
from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.cli.table import json_option, show_json
from celeriac.cli.values import json_array, json_object, moment, moment_or_seconds, queue_name


@click.command()
@click.argument("name")
@click.option(
    "-a", "--args", type=json_array, metavar="JSON", default="[]", help="Positional arguments, a JSON array."
)
@click.option(
    "-k", "--kwargs", type=json_object, metavar="JSON", default="{}", help="Keyword arguments, a JSON object."
)
@click.option("--eta", type=moment, metavar="TIME", help="Not before this time.")
@click.option("--countdown", type=float, metavar="SECONDS", help="Not before so many seconds from now.")
@click.option(
    "--expires",
    type=moment_or_seconds,
    metavar="TIME|SECONDS",
    help="Not after this time, or so many seconds from now.",
)
@click.option("--serializer", metavar="NAME", help="json, pickle, yaml or msgpack.")
@click.option("--queue", type=queue_name, metavar="NAME", help="The queue to send to.")
@click.option("--exchange", metavar="NAME", help="The exchange that the message names.")
@click.option("--routing-key", metavar="KEY", help="The routing key that the message names.")
@json_option
@pass_invocation
def call(
    invocation: Invocation,
    /,
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    as_json: bool,
    **options: Any,
) -> None:
    """Send the task NAME and print its id. The app need not know the task."""
    given = {option: value for option, value in options.items() if value is not None}
    result = invocation.app.send_task(name, args, kwargs, **given)
    if as_json:
        show_json({"id": result.id})
    else:
        click.echo(result.id)


@click.command()
@click.argument("task_id")
@click.option("-t", "--task", metavar="NAME", help="Accepted; a result is found without its task's name.")
@click.option("--traceback", is_flag=True, help="Print the traceback of a task that failed; exit with 0.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer. [for ever]")
@click.option("--strict", is_flag=True, help="Do not wait for what is neither stored, waiting nor running.")
@json_option
@pass_invocation
def result(
    invocation: Invocation,
    task_id: str,
    task: str | None,
    traceback: bool,
    timeout: float | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Wait for the task TASK_ID and print what it returned; exit with 1 if it failed."""
    found = invocation.app.AsyncResult(task_id)
    try:
        value = found.get(timeout=timeout, propagate=False, strict=strict)
    except exceptions.NotFound as error:
        if as_json:
            show_json({"id": task_id, "state": found.state, "error": repr(error)})
        click.echo(f"Error: {error}.", err=True)
        sys.exit(1)
    except exceptions.TimeoutError:
        if as_json:
            show_json({"id": task_id, "state": found.state})
        click.echo(
            f"Error: no result of {task_id} within {timeout:g} s; its state is {found.state}.", err=True
        )
        sys.exit(1)
    failed = not found.successful()
    if as_json:
        show_json(_as_json(task_id, found.state, value, found.traceback, failed))
    elif traceback:
        click.echo(found.traceback or "")
        return
    elif failed:
        click.echo(f"{found.state}: {type(value).__name__}: {value}", err=True)
    else:
        click.echo(value)
    if failed:
        sys.exit(1)


def _as_json(
    task_id: str, state: str, value: object, traceback: str | None, failed: bool
) -> dict[str, object]:
    row: dict[str, object] = {"id": task_id, "state": state}
    if failed:
        return row | {"error": repr(value), "traceback": traceback}
    return row | {"result": value.isoformat() if isinstance(value, datetime) else value}
