"""`celeriac report`: what somebody needs to know who shall help you, without your secrets."""

from __future__ import annotations

import click

from celeriac import reporting
from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.cli.table import json_option, show_json


@click.command()
@json_option
@pass_invocation
def report(invocation: Invocation, as_json: bool) -> None:
    """Show versions, platform and the settings that somebody set; secrets are left out."""
    app = invocation.app
    name = f"{app.main or '(no name)'} from {invocation.app_spec or '(no -A)'}"
    facts = reporting.facts(name, app.broker_url, app.result_url, app.conf)
    if as_json:
        show_json(facts)
    else:
        click.echo(reporting.as_text(facts))
