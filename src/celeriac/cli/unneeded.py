"""Options of Celery's worker that are taken and change nothing here, each with the reason to be read."""

from __future__ import annotations

import click
from click.core import ParameterSource

from celeriac.cli.invocation import Invocation

#: By the option's parameter: how it is written, and why it has no effect.
UNNEEDED = {
    "optimization": (
        "-O",
        "a child never claims more than it can begin at once, which is what -O fair is for",
    ),
    "prefetch_multiplier": (
        "--prefetch-multiplier",
        "children claim ahead by time (about 10 ms of work), not by count",
    ),
    "disable_prefetch": ("--disable-prefetch", "slow tasks are claimed one by one as it is"),
    "statedb": ("-S/--statedb", "a worker keeps no state of its own that a restart could lose"),
    "without_gossip": ("--without-gossip", "workers do not gossip: the store knows who is alive"),
    "without_mingle": ("--without-mingle", "workers do not ask each other at the start"),
    "schedule_filename": ("-s/--schedule-filename", "the schedule is kept in the broker's store"),
    "scheduler": ("--scheduler", "-B runs our own scheduler; start others with `celeriac beat -S`"),
    "executable": (
        "--executable",
        "no other program is started: start celeriac with the Python that is meant",
    ),
}


def tell_unneeded(ctx: click.Context, invocation: Invocation) -> None:
    """One line for each such option that was given."""
    for parameter, (option, reason) in UNNEEDED.items():
        if ctx.get_parameter_source(parameter) not in (ParameterSource.DEFAULT, None):
            invocation.remark(f"{option} has no effect here because {reason}.")
