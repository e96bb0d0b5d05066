"""`celeriac config explain`: what a setting is, what it does, and where it was set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from celeriac.app import Celery
from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.cli.overrides import setting_name
from celeriac.cli.table import json_option, show, show_json
from celeriac.config import censored
from celeriac.settings import SETTINGS

#: Options before the command, and the settings that they are.
_SAID_BEFORE = {"broker_url": ("broker", "-b"), "result_backend": ("result_backend", "--result-backend")}


@click.group()
def config() -> None:
    """Look at the settings."""


@config.command(short_help="What a setting is, and who set it.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "every", is_flag=True, help="All settings, not only those that somebody set.")
@json_option
@pass_invocation
def explain(invocation: Invocation, names: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Say of each setting NAME its value, its default, where it was set, and what it does.

    Without NAME: the settings that somebody set. NAME may be written as task_time_limit, as task.time_limit
    or in the old way, CELERYD_TASK_TIME_LIMIT.
    """
    app = invocation.app
    if not names:
        chosen = sorted(app.conf if every else app.conf.explicit)
        rows = [_facts(app, name) for name in chosen]
        columns = ("name", "value", "default", "set", "status")
        show(columns, rows, as_json=as_json, nothing="All settings are as by default.")
        return
    facts = [_facts(app, _known(app, name)) for name in names]
    if as_json:
        show_json(facts)
        return
    click.echo("\n\n".join(_told(fact) for fact in facts))


def _known(app: Celery, text: str) -> str:
    name = setting_name(text)
    if name not in app.conf:
        raise click.UsageError(f"there is no setting {text!r}, and this app has none of its own of that name")
    return name


def _facts(app: Celery, name: str) -> dict[str, Any]:
    setting = SETTINGS.get(name)
    facts: dict[str, Any] = {
        "name": name,
        "value": censored(name, app.conf[name]),
        "default": None if setting is None else setting.default,
        "set": _origin(app, name) or "nowhere: the default holds",
        "does": "A setting of your own." if setting is None else setting.help,
        "status": _status(name),
        "old name": setting.old if setting is not None and setting.old else None,
    }
    if name in _IN_EFFECT and not app.conf[name]:
        facts["in effect"] = censored(name, _IN_EFFECT[name](app)) or "results are off"
    return facts


#: Settings whose None means something, and what.
_IN_EFFECT: dict[str, Callable[[Celery], Any]] = {
    "broker_url": lambda app: app.broker_url,
    "result_backend": lambda app: app.result_url,
    "timezone": lambda app: "UTC",
    "result_accept_content": lambda app: app.conf.accept_content,
    "worker_concurrency": lambda app: "what fits the machine and the pool",
}


def _status(name: str) -> str:
    setting = SETTINGS.get(name)
    if setting is None:
        return "your own"
    if setting.status == "no effect":
        return f"no effect here: {setting.reason}"
    return "no effect yet: what it is for is not built" if setting.status == "later" else "honoured"


def _origin(app: Celery, name: str) -> str | None:
    parameter, option = _SAID_BEFORE.get(name, ("", ""))
    source = click.get_current_context().find_root().get_parameter_source(parameter) if parameter else None
    return option if source is ParameterSource.COMMANDLINE else app.conf.origin(name)


def _told(facts: dict[str, Any]) -> str:
    lines = [f"{facts['name']} = {facts['value']!r}", f"  {facts['does']}"]
    for word in ("in effect", "default", "set", "status", "old name"):
        if facts.get(word) is not None or word == "default":
            value = facts[word]
            lines.append(
                f"  {word + ':':<10} {value if isinstance(value, str) and word != 'default' else repr(value)}"
            )
    return "\n".join(lines)
