"""`celeriac dead`: messages that were given up on, and giving them another chance."""

from __future__ import annotations

import sys

import click

from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.cli.messages import describe
from celeriac.cli.table import Row, json_option, show, show_json, when
from celeriac.message import Letter

#: `dead replay --all` asks for as many; a store with more needs a second call, and says so.
ALL = 10_000


@click.group()
def dead() -> None:
    """Messages that were given up on, kept with the reason."""


@dead.command("list")
@click.option("-n", "number", type=click.IntRange(min=1), default=20, show_default=True, help="How many.")
@json_option
@pass_invocation
def list_letters(invocation: Invocation, number: int, as_json: bool) -> None:
    """The dead letters, the newest first."""
    rows = [_row(letter) for letter in invocation.app.broker.letters(number)]
    columns = ("id", "queue", "name", "args", "kwargs", "died", "deliveries", "reason")
    show(columns, rows, as_json=as_json, nothing="No dead letters.")


@dead.command(short_help="Put dead letters back into their queues.")
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@json_option
@pass_invocation
def replay(invocation: Invocation, ids: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Put dead letters back to the end of their queues, as if they were new: who asks for their results waits
    for those of the new run."""
    if bool(ids) == everything:
        raise click.UsageError("Name the letters by their ids (see `dead list`), or give --all")
    broker, results = invocation.app.broker, invocation.app.results
    known = [letter.id for letter in broker.letters(ALL)]
    wanted = known if everything else list(ids)
    if results is not None:
        # First: a worker may have the new result as soon as the letter is a message again.
        results.forget(list(set(known).intersection(wanted)))
    replayed = broker.replay(wanted)
    if as_json:
        show_json({"asked": len(wanted), "replayed": replayed})
    else:
        click.echo(f"Replayed {replayed} dead letter{'' if replayed == 1 else 's'}.")
    if replayed < len(wanted):
        missing = len(wanted) - replayed
        click.echo(f"{missing} of the {len(wanted)} ids name no dead letter (any more).", err=True)
        sys.exit(1)
    if everything and len(wanted) == ALL:
        click.echo("There may be more: run it again.", err=True)


def _row(letter: Letter) -> Row:
    return describe(letter.payload) | {
        "id": letter.id,
        "queue": letter.queue,
        "died": when(letter.died_at),
        "deliveries": letter.deliveries,
        "reason": letter.reason,
    }
