"""`celeriac beat`: sends periodic tasks. Any number may run; one of them sends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from celeriac.beat.start import BeatOptions, Service, run
from celeriac.cli.daemon import become, detach, detachable
from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.cli.own_options import CommandWithOwnOptions, tell_preloaded
from celeriac.cli.values import level
from celeriac.compat.nodenames import host_format, node_format
from celeriac.exceptions import ImproperlyConfigured

#: Names of our own scheduler: Celery's default, and its short forms.
OWN = ("", "celery.beat:PersistentScheduler", "celery.beat.PersistentScheduler", "celeriac")


@click.command(cls=CommandWithOwnOptions)
@click.option(
    "-l", "--loglevel", type=level, metavar="LEVEL", default="WARNING", help="How much is logged. [WARNING]"
)
@click.option("-f", "--logfile", metavar="FILE", help="Log to this file.")
@click.option("-n", "--hostname", metavar="NAME", help="Name of this node. [celerybeat@%h]")
@click.option(
    "--max-interval",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Look again after so long at most; 1 is the longest.",
)
@click.option("-S", "--scheduler", metavar="CLASS", help="Somebody else's scheduler: module:Class.")
@click.option("-s", "--schedule", "schedule_filename", metavar="FILE", help="Accepted; for -S alone.")
@click.option(
    "--enable-remote-control/--no-enable-remote-control",
    "remote_control",
    default=None,
    help="Answer `inspect ping`.",
)
@click.option("--detach", "-D", is_flag=True, help="Go to the background.")
@click.option("--pidfile", metavar="FILE", help="Write the process number here; refuse to start twice.")
@click.option("--uid", metavar="USER", help="Run as this user.")
@click.option("--gid", metavar="GROUP", help="Run as this group.")
@click.option("--umask", metavar="OCTAL", help="File mode mask of files that are made.")
@click.option("--executable", metavar="FILE", help="Accepted, without effect.")
@pass_invocation
def beat(invocation: Invocation, /, **said: Any) -> None:
    """Send periodic tasks until told to stop (TERM, Ctrl-C).

    Start as many as you like: they elect one that sends, and another takes over within 10 seconds
    (beat_lease). The schedule is beat_schedule, add_periodic_task, and what `celeriac schedule add` adds.
    """
    hostname = host_format(said["hostname"] or "celerybeat@%h")
    logfile = said["logfile"] and node_format(said["logfile"], hostname)
    settled: Callable[[], None] = lambda: None
    if said["detach"]:
        detachable(logfile)
        settled = detach()
    become(said["uid"], said["gid"], said["umask"])
    app = invocation.app
    tell_preloaded(invocation, "beat", said)
    if said["remote_control"] is not None:
        app.conf.pin("beat_enable_remote_control", said["remote_control"])
    theirs = _theirs(said["scheduler"] or app.conf.beat_scheduler)
    options = BeatOptions(
        hostname=hostname,
        loglevel=said["loglevel"],
        logfile=logfile,
        no_color=invocation.no_color,
        quiet=invocation.quiet or said["detach"],
        pidfile=said["pidfile"] and node_format(said["pidfile"], hostname),
        max_interval=said["max_interval"],
        scheduler=theirs and str(theirs),
        schedule_filename=said["schedule_filename"] if theirs else None,
    )
    if said["schedule_filename"] and not theirs:
        invocation.remark(
            "-s/--schedule has no effect here because the schedule is kept in the broker's store."
        )
    service = _service_of(invocation, theirs, said) if theirs else None
    sys.exit(run(app, options, service, settled))


def _theirs(scheduler: Any) -> Any:
    """Somebody else's scheduler; None if ours is meant."""
    return None if scheduler in OWN else scheduler


def _service_of(invocation: Invocation, scheduler: Any, said: dict[str, Any]) -> Service:
    # Only here: ours needs nothing of it.
    from celeriac.compat.beat import Service as TheirService

    try:
        service: Service = TheirService(
            invocation.app,
            max_interval=said["max_interval"],
            schedule_filename=said["schedule_filename"],
            scheduler_cls=scheduler,
        )
        return service
    except ImportError as error:
        raise ImproperlyConfigured(f"the scheduler {scheduler!r} cannot be imported: {error}") from error
