"""`celeriac report`: what somebody needs to know who shall help you, without your secrets."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

import celeriac
from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.cli.table import json_option, show_json
from celeriac.config import censored

#: What a trouble may depend on.
_PACKAGES = (
    "msgspec",
    "click",
    "rich",
    "redis",
    "hiredis",
    "gevent",
    "msgpack",
    "pyyaml",
    "pydantic",
    "celery",
)


@click.command()
@json_option
@pass_invocation
def report(invocation: Invocation, as_json: bool) -> None:
    """Show versions, platform and the settings that somebody set; secrets are left out."""
    app = invocation.app
    facts: dict[str, Any] = {
        "software": {"celeriac": celeriac.__version__, "python": platform.python_version(), **_versions()},
        "platform": f"{platform.platform()} {platform.python_implementation()}",
        "app": f"{app.main or '(no name)'} from {invocation.app_spec or '(no -A)'}",
        "broker": censored("", app.broker_url),
        "results": censored("", app.result_url) if app.result_url else "off",
        "settings": app.conf.table(),
    }
    if as_json:
        show_json(facts)
        return
    click.echo("software -> " + " ".join(f"{name}:{number}" for name, number in facts["software"].items()))
    for name in ("platform", "app", "broker", "results"):
        click.echo(f"{name:<8} -> {facts[name]}")
    click.echo("settings ->" if facts["settings"] else "settings -> all as by default")
    for name, value in facts["settings"].items():
        click.echo(f"  {name} = {value!r}")


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
