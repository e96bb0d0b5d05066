"""`celeriac list bindings`: the queues that the app declares, and which routing keys lead to them."""

from __future__ import annotations

import click

from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.cli.table import json_option, show
from celeriac.queues import read_queues


@click.group("list")
def list_() -> None:
    """Look at what the app declares."""


@list_.command(short_help="Queues with their exchanges and keys.")
@json_option
@pass_invocation
def bindings(invocation: Invocation, as_json: bool) -> None:
    """The queues that the app declares, each with its exchange and routing key; no server is asked."""
    conf = invocation.app.conf
    declared = read_queues(conf.task_queues)
    rows = [
        {
            "queue": name,
            "exchange": declared[name].exchange or name if name in declared else name,
            "routing_key": declared[name].routing_key or name if name in declared else name,
        }
        for name in dict.fromkeys([*declared, *([] if declared else [conf.task_default_queue])])
    ]
    show(("queue", "exchange", "routing_key"), rows, as_json=as_json, nothing="No queues.")
