"""`celeriac worker`: what may be said on its command line, and what becomes of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click
from msgspec.structs import replace

from celeriac.cli.daemon import become, begin_again, begun_again, detach, detachable
from celeriac.cli.decide import decide
from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.cli.overrides import read_overrides
from celeriac.cli.own_options import CommandWithOwnOptions, said_by_own, tell_preloaded
from celeriac.cli.unneeded import tell_unneeded
from celeriac.cli.values import address, autoscale, concurrency, level, names, pool_name

_ABOVE_ZERO = click.FloatRange(min=0, min_open=True)
_FROM_ONE = click.IntRange(min=1)
_Command = Callable[..., None]


def _flag(*names: str, help: str) -> Callable[[_Command], _Command]:
    return click.option(*names, is_flag=True, help=help)


@click.command(cls=CommandWithOwnOptions)
@click.option(
    "-n", "--hostname", metavar="NAME", help="Name of this node; %h host, %n name, %d domain. [celery@%h]"
)
@click.option(
    "-l", "--loglevel", type=level, metavar="LEVEL", default="WARNING", help="How much is logged. [WARNING]"
)
@click.option(
    "-f", "--logfile", metavar="FILE", help="Log to this file; %p node, %n its name, %i and %I child."
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), help="text, or one JSON object a line. [text]"
)
@click.option(
    "-P",
    "--pool",
    type=pool_name,
    metavar="NAME",
    help="prefork, threads, gevent, asyncio or solo. [prefork]",
)
@click.option(
    "-c",
    "--concurrency",
    type=concurrency,
    metavar="NUMBER|auto",
    help="Tasks at a time: processes, threads, ... [cores]",
)
@click.option(
    "--processes", type=_FROM_ONE, metavar="NUMBER", help="Children of threads, gevent, asyncio. [1]"
)
@click.option("-Q", "--queues", type=names, metavar="A,B,...", help="Serve only these queues.")
@click.option("-X", "--exclude-queues", type=names, metavar="A,B,...", help="Serve all queues but these.")
@click.option("-I", "--include", type=names, metavar="A,B,...", help="Import these modules too.")
@click.option(
    "--max-tasks-per-child", type=_FROM_ONE, metavar="NUMBER", help="Replace a child after so many tasks."
)
@click.option(
    "--max-memory-per-child", type=_FROM_ONE, metavar="KIB", help="Replace a child that grew over this."
)
@click.option("--time-limit", type=_ABOVE_ZERO, metavar="SECONDS", help="End a task that runs longer.")
@click.option(
    "--soft-time-limit", type=_ABOVE_ZERO, metavar="SECONDS", help="Raise SoftTimeLimitExceeded in it."
)
@click.option(
    "--lease", type=_ABOVE_ZERO, metavar="SECONDS", help="A silent node's claims go to others after this."
)
@click.option("--pool-start-method", "--start-method", "start_method", type=click.Choice(["fork", "spawn"]),
              help="How children begin; spawn for apps that start threads at import. [fork]")  # fmt: skip
@_flag("--purge", "--discard", help="Remove what waits in the queues before the start. There is no undo.")
@_flag("--reload", help="Start anew when a Python file below this folder changes; for development.")
@_flag("-D", "--detach", help="Go to the background.")
@click.option(
    "--health-port",
    "health",
    type=address,
    metavar="[HOST:]PORT",
    help="Answer /livez, /readyz and /metrics there.",
)
@click.option("--pidfile", metavar="FILE", help="Write the process number here; refuse to start twice.")
@click.option("--uid", metavar="USER", help="Run as this user.")
@click.option("--gid", metavar="GROUP", help="Run as this group.")
@click.option("--umask", metavar="OCTAL", help="File mode mask of files that are made.")
@_flag("-E", "--task-events", "--events", help="Send task events.")
@_flag("--without-heartbeat", help="Send no heartbeat events.")
@_flag("--without-gossip", help="Accepted, without effect.")
@_flag("--without-mingle", help="Accepted, without effect.")
@click.option("--heartbeat-interval", type=_ABOVE_ZERO, metavar="SECONDS", help="Between two of them. [2]")
@click.option(
    "-O", "--optimization", type=click.Choice(["default", "fair"]), help="Accepted, without effect."
)
@click.option("--prefetch-multiplier", type=int, metavar="NUMBER", help="Accepted, without effect.")
@_flag("--disable-prefetch", help="Accepted, without effect.")
@click.option(
    "--autoscale",
    type=autoscale,
    metavar="MAX[,MIN]",
    help="prefork: as many processes as there is work for.",
)
@_flag("-B", "--beat", help="Send periodic tasks too. Several workers may: one of them sends.")
@click.option("-s", "--schedule-filename", "--schedule", metavar="FILE", help="Accepted, without effect.")
@click.option("--scheduler", metavar="NAME", help="Accepted, without effect.")
@click.option("-S", "--statedb", metavar="FILE", help="Accepted, without effect.")
@click.option("--executable", metavar="FILE", help="Accepted, without effect.")
@click.argument("overrides", nargs=-1, metavar="[NS.KEY=VALUE]...")
@pass_invocation
@click.pass_context
def worker(ctx: click.Context, invocation: Invocation, /, overrides: tuple[str, ...], **said: Any) -> None:
    """Run tasks until told to stop (TERM, Ctrl-C: finish what runs; a second Ctrl-C: at once).

    HUP starts it anew, USR1 logs where every thread stands.

    Settings may follow the options: worker.redirect_stdouts=false task.time_limit=30
    """
    if said["reload"]:
        if said["detach"]:
            raise click.UsageError("--reload is for a terminal: leave out -D/--detach")
        from celeriac.cli.reloading import run_and_reload

        sys.exit(run_and_reload())
    settings = read_overrides(overrides)
    tell_unneeded(ctx, invocation)
    # Only now: neither --help nor `multi` shall wait for the engine.
    from celeriac.worker import banner
    from celeriac.worker.household import RESTART
    from celeriac.worker.start import run

    again = begun_again()
    settled: Callable[[], None] = lambda: None
    if said["detach"] and not again:
        detachable(said["logfile"])
        settled = detach()
    become(said["uid"], said["gid"], said["umask"])
    app = invocation.app
    for name, value in settings.items():
        app.conf.pin(name, value)
    options = replace(
        decide(said, app.conf, invocation, settings), own=said_by_own(invocation, "worker", said)
    )
    tell_preloaded(invocation, "worker", said)
    code = run(app, options, settled)
    if code == RESTART:
        banner.say(banner.RESTARTING % " ".join(sys.argv))
        begin_again(invocation.begun_in)
    sys.exit(code)
