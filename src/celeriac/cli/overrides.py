"""Settings at the end of a worker's command line: `task.time_limit=30` or `task_time_limit=30`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from celeriac.config import coerce, known_name
from celeriac.exceptions import ImproperlyConfigured
from celeriac.settings import SETTINGS

#: `.redirect_stdouts=false` is a worker's own setting.
_DEFAULT_GROUP = "worker"


def read_overrides(texts: Sequence[str]) -> dict[str, object]:
    """The settings by their names, each value made what its setting needs."""
    return dict(_read(text) for text in texts)


def _read(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(
            f"{text!r} is no setting: what follows the options has the form group.name=value, "
            "as in task.time_limit=30"
        )
    try:
        name = setting_name(key)
        return name, coerce(name, value)
    except ImproperlyConfigured as error:
        raise click.UsageError(f"{text}: {error}") from None


def setting_name(key: str) -> str:
    """The name of the setting that is meant by `task_time_limit`, `task.time_limit` or an old name."""
    return known_name(_name(key))


def _name(key: str) -> str:
    group, dot, rest = key.partition(".")
    if not dot:
        return key
    rest = rest.replace(".", "_")
    name = f"{group or _DEFAULT_GROUP}_{rest}"
    # Settings of no group are written with one all the same: celery.timezone=Europe/Paris.
    return rest if name not in SETTINGS and rest in SETTINGS else name
