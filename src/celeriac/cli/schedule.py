"""`celeriac schedule`: what is called again and again, looked at and changed while it runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.cli.table import json_option, show, show_json
from celeriac.cli.values import json_array, json_object, moment
from celeriac.exceptions import ImproperlyConfigured
from celeriac.planning import Planned
from celeriac.schedules import BaseSchedule, crontab, once, solar
from celeriac.schedules import schedule as interval

_NUMBER = click.option(
    "-n", "number", type=click.IntRange(min=1), default=10, show_default=True, help="How many."
)


@click.group()
def schedule() -> None:
    """Periodic tasks: list, add, pause, trigger; seen by the schedulers within a second."""


@schedule.command("list")
@json_option
@pass_invocation
def list_entries(invocation: Invocation, /, as_json: bool) -> None:
    """All entries, and when each comes next."""
    schedules = _schedules(invocation)
    rows = [_row(planned) for planned in schedules.list()]
    columns = ("name", "schedule", "task", "next", "last", "runs", "state", "from")
    nothing = "No periodic tasks: declare some in beat_schedule, or add one with `schedule add`."
    show(columns, rows, as_json=as_json, nothing=nothing)
    if not as_json and rows:
        leader = schedules.leader()
        invocation.remark(f"Sent by {leader}." if leader else "Nobody sends them: start `celeriac beat`.")


@schedule.command()
@click.argument("name")
@click.argument("task")
@click.option(
    "--cron", type=str, metavar="'M H DOM MON DOW'", help="A crontab; of six fields the first is the second."
)
@click.option("--every", type=click.FloatRange(min=0.001), metavar="SECONDS", help="An interval.")
@click.option("--at", type=moment, metavar="TIME", help="Once, at this time.")
@click.option("--solar", "sun", metavar="EVENT,LAT,LON", help="By the sun: sunset,52.52,13.40.")
@click.option(
    "-a", "--args", "args", type=json_array, default="[]", metavar="JSON", help="Positional arguments."
)
@click.option(
    "-k", "--kwargs", "kwargs", type=json_object, default="{}", metavar="JSON", help="Arguments by name."
)
@click.option("--timezone", metavar="ZONE", help="Whose wall clock counts. [the app's]")
@click.option("--queue", metavar="QUEUE", help="Where to send it.")
@click.option(
    "--expires", type=float, metavar="SECONDS", help="Not to be run later than so long after it was sent."
)
@click.option("--catch-up", type=click.Choice(["none", "last", "all"]), default="last", show_default=True,
              help="What becomes of missed occurrences.")  # fmt: skip
@click.option("--deadline", type=float, metavar="SECONDS", help="Drop an occurrence that is later than this.")
@click.option("--jitter", type=float, default=0.0, metavar="SECONDS", help="Send up to so much later.")
@click.option("--start", type=moment, metavar="TIME", help="Not before.")
@click.option("--end", type=moment, metavar="TIME", help="Not after.")
@click.option("--max-runs", type=click.IntRange(min=1), metavar="NUMBER", help="So often and no more.")
@click.option("--no-overlap", is_flag=True, help="Not while the last one runs.")
@click.option("--replace", is_flag=True, help="In place of an entry of this name.")
@json_option
@pass_invocation
def add(invocation: Invocation, /, name: str, task: str, as_json: bool, **said: Any) -> None:
    """Call TASK by a schedule, under the name NAME."""
    rule = _rule(said.pop("cron"), said.pop("every"), said.pop("at"), said.pop("sun"))
    queue = said.pop("queue")
    said["overlap"] = not said.pop("no_overlap")
    options = {"queue": queue} if queue else {}
    try:
        planned = _schedules(invocation).add(name, task, rule, options=options, **said)
    except (ValueError, TypeError) as error:
        raise ImproperlyConfigured(str(error)) from error
    _tell(planned, "Added", as_json)


@schedule.command()
@click.argument("name")
@json_option
@pass_invocation
def pause(invocation: Invocation, /, name: str, as_json: bool) -> None:
    """Send NAME no more, until `resume`."""
    _tell(_found(invocation, "pause", name), "Paused", as_json)


@schedule.command()
@click.argument("name")
@json_option
@pass_invocation
def resume(invocation: Invocation, /, name: str, as_json: bool) -> None:
    """Go on with the next occurrence of NAME."""
    _tell(_found(invocation, "resume", name), "Resumed", as_json)


@schedule.command()
@click.argument("name")
@json_option
@pass_invocation
def trigger(invocation: Invocation, /, name: str, as_json: bool) -> None:
    """Send NAME now, beside its schedule; prints the task's id."""
    task_id = _found(invocation, "trigger", name)
    if as_json:
        show_json({"name": name, "id": task_id})
    else:
        click.echo(task_id)


@schedule.command()
@click.argument("name")
@json_option
@pass_invocation
def remove(invocation: Invocation, /, name: str, as_json: bool) -> None:
    """Forget NAME and its history."""
    _found(invocation, "remove", name)
    if as_json:
        show_json({"removed": name})
    else:
        click.echo(f"Removed {name}.")


@schedule.command("next")
@click.argument("name")
@_NUMBER
@json_option
@pass_invocation
def show_next(invocation: Invocation, /, name: str, number: int, as_json: bool) -> None:
    """The next occurrences of NAME."""
    moments = [moment.isoformat(sep=" ") for moment in _found(invocation, "next", name, number)]
    if as_json:
        show_json(moments)
        return
    for moment_ in moments:
        click.echo(moment_)
    if not moments:
        click.echo("None: it is paused, or over.", err=True)


@schedule.command(short_help="What became of the last occurrences of NAME.")
@click.argument("name")
@_NUMBER
@json_option
@pass_invocation
def history(invocation: Invocation, /, name: str, number: int, as_json: bool) -> None:
    """What became of the last occurrences of NAME, the newest first."""
    _found(invocation, "get", name)
    rows = [
        {
            "at": _shown(one.at),
            "what": one.what,
            "late": round((one.done - one.at).total_seconds(), 3),
            "id": one.task_id or None,
        }
        for one in _found(invocation, "history", name, number)
    ]
    show(("at", "what", "late", "id"), rows, as_json=as_json, nothing="It has not come yet.")


def _schedules(invocation: Invocation) -> Any:
    if invocation.app_spec is None:
        raise click.UsageError(
            "schedules belong to an app: say which with -A, as in celeriac -A main schedule list"
        )
    invocation.app.import_modules()
    return invocation.app.schedules


def _found(invocation: Invocation, method: str, name: str, *more: Any) -> Any:
    try:
        return getattr(_schedules(invocation), method)(name, *more)
    except KeyError as error:
        raise ImproperlyConfigured(error.args[0]) from None


def _rule(cron: str | None, every: float | None, at: datetime | None, sun: str | None) -> BaseSchedule:
    said = [rule for rule in (cron, every, at, sun) if rule is not None]
    if len(said) != 1:
        raise click.UsageError("say when, in one of these ways: --cron, --every, --at, --solar")
    try:
        if cron is not None:
            return crontab.from_string(cron)
        if every is not None:
            return interval(every)
        if at is not None:
            return once(at)
        assert sun is not None
        event, lat, lon = sun.split(",")
        return solar(event, float(lat), float(lon))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _tell(planned: Planned, done: str, as_json: bool) -> None:
    if as_json:
        show_json(_row(planned))
        return
    click.echo(f"{done} {planned.name} ({planned.schedule}).")
    if planned.next is not None:
        click.echo(f"Next: {_shown(planned.next)}")
    elif not planned.paused:
        click.echo("It never comes: its time is over.", err=True)


def _row(planned: Planned) -> dict[str, object]:
    return {
        "name": planned.name,
        "schedule": planned.schedule,
        "task": planned.task,
        "next": planned.next and _shown(planned.next),
        "last": planned.last and _shown(planned.last),
        "runs": planned.runs,
        "state": "paused" if planned.paused else "on" if planned.next else "over",
        "from": "code" if planned.static else "store",
    }


def _shown(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="seconds")
