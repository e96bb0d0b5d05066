"""`celeriac upgrade settings`: the old upper-case names in a file of settings become the new ones."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import click

from celeriac.settings import OLD_NAMES

#: What looks like the name of a setting, wherever it stands.
_NAME = re.compile(r"\b[A-Z][A-Z0-9_]{3,}\b")
_PREFIX = "CELERY_"


@click.group()
def upgrade() -> None:
    """Bring a project up to date."""


@upgrade.command(short_help="Give settings of a file their new names.")
@click.argument("filename", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--django", is_flag=True, help="For Django: the new names in capitals, with CELERY_ before them."
)
@click.option("--compat", is_flag=True, help="Accepted, without effect: both kinds of names are read.")
@click.option("--no-backup", is_flag=True, help="Keep no FILENAME.orig.")
def settings(filename: Path, django: bool, compat: bool, no_backup: bool) -> None:
    """Replace the old names of settings in the file FILENAME; the old file is kept as FILENAME.orig."""
    lines = filename.read_text(encoding="utf-8").splitlines(keepends=True)
    changed = 0
    for number, line in enumerate(lines):
        new = renamed(line, django=django)
        if new != line:
            changed += 1
            click.echo(f"{number + 1}: {line.strip()}\n   -> {new.strip()}", err=True)
            lines[number] = new
    if not changed:
        click.echo("Does not seem to require upgrading :-)")
        sys.exit(0)
    if not no_backup:
        shutil.copy2(filename, filename.with_name(f"{filename.name}.orig"))
    filename.write_text("".join(lines), encoding="utf-8")
    click.echo(f"Changed {changed} line{'' if changed == 1 else 's'} of {filename}.")


def renamed(line: str, *, django: bool = False) -> str:
    """The line with the names that are settings replaced; comments stay."""
    code, sign, comment = line.partition("#")
    return _NAME.sub(lambda match: _new_name(match[0], django), code) + sign + comment


def _new_name(old: str, django: bool) -> str:
    new = OLD_NAMES.get(old)
    if new is None:
        return old
    return _PREFIX + new.upper() if django else new
