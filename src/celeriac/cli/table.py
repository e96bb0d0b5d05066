"""Show rows to whoever looks: a table for a person, plain columns for a pipe, JSON for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import click

#: What a row says, by the name of the column; None is shown as `-`.
Row = Mapping[str, object]

#: Columns, more than any table has.
_ANY = 1_000_000

json_option: Callable[[Callable[..., None]], Callable[..., None]] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON."
)


def show(columns: Sequence[str], rows: Sequence[Row], *, as_json: bool, nothing: str) -> None:
    """Print the rows; `nothing` is the sentence that a person reads if there are none."""
    if as_json:
        show_json(rows)
    elif not rows:
        click.echo(nothing)
    elif sys.stdout.isatty():
        _as_table(columns, rows)
    else:
        _as_columns(columns, rows)


def show_json(value: object) -> None:
    click.echo(json.dumps(value, default=repr, ensure_ascii=False, indent=2))


def when(epoch: float) -> str:
    """Epoch seconds as a local time to the second."""
    return datetime.fromtimestamp(epoch, UTC).astimezone().isoformat(sep=" ", timespec="seconds")


def _as_table(columns: Sequence[str], rows: Sequence[Row]) -> None:
    # rich takes 50 ms to import: too much for a command that prints no table.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column)), overflow="fold") for column in columns))
    console = Console()
    # What it measures is never more than the width that it is told of.
    if console.measure(table, options=console.options.update_width(_ANY)).minimum <= console.width:
        console.print(table)
    else:
        _as_records(columns, rows)


def _as_records(columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Where a table would have to cut words, and an id with them: one cell a line."""
    width = max(map(len, columns))
    for number, row in enumerate(rows):
        if number:
            click.echo()
        for column in columns:
            click.echo(f"{column.ljust(width)}  {_cell(row.get(column))}")


def _as_columns(columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Whole cells, never cut or wrapped, so that grep and awk see one message a line."""
    lines = [list(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    """One line of printable signs: a message must not be able to move the cursor or to add rows."""
    if value is None:
        return "-"
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
