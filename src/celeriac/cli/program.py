"""The command group: the options that stand before every command, and which commands there are."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import click
from click.core import ParameterSource

import celeriac
from celeriac.app import Celery
from celeriac.cli.invocation import FLAGS, GLOBAL_OPTIONS, Invocation
from celeriac.exceptions import CeleriacError
from celeriac.importing import told_if_imported
from celeriac.nearest import nearest
from celeriac.worker.finding import AppNotFound


class _Failed(click.ClickException):
    """A trouble that has a sentence of its own, so nobody needs our traceback. Exit code 1, as in Celery."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"Error: {self.format_message()}", file=file, err=True)


#: Where each command is, and what the list of commands says of it. A module is imported when its command is
#: asked for: a worker needs a lot that neither `queue list` nor `--help` should wait for.
COMMANDS = {
    "worker": ("celeriac.cli.worker", "Run tasks until told to stop."),
    "beat": ("celeriac.cli.beat", "Send periodic tasks until told to stop."),
    "schedule": ("celeriac.cli.schedule", "Periodic tasks: list, add, pause, trigger."),
    "status": ("celeriac.cli.remote", "Show which workers are there."),
    "inspect": ("celeriac.cli.remote", "Ask workers: active, stats, registered, ..."),
    "control": ("celeriac.cli.remote", "Tell workers: rate_limit, pool_grow, shutdown, ..."),
    "events": ("celeriac.cli.events", "Watch tasks and workers live."),
    "queue": ("celeriac.cli.queues", "See what waits; pause, resume, drain, purge."),
    "dead": ("celeriac.cli.letters", "Messages that were given up on: list, replay."),
    "purge": ("celeriac.cli.queues", "Remove what waits in all queues."),
    "call": ("celeriac.cli.calling", "Send a task and print its id."),
    "result": ("celeriac.cli.calling", "Wait for a task and print what it returned."),
    "check": ("celeriac.cli.check", "What the app can run, and what is wrong with it."),
    "config": ("celeriac.cli.config", "What a setting is, and who set it."),
    "report": ("celeriac.cli.report", "Versions, platform and settings, without secrets."),
    "list": ("celeriac.cli.listing:list_", "What the app declares."),
    "migrate": ("celeriac.cli.migrate", "Bring what waits to another broker."),
    "multi": ("celeriac.cli.multi", "Several workers of this machine in the background."),
    "shell": ("celeriac.cli.shell", "An interactive Python with the app at hand."),
    "logtool": ("celeriac.cli.logtool", "What the log files of workers say about tasks."),
    "upgrade": ("celeriac.cli.upgrade", "Bring a project's settings up to date."),
    "completion": ("celeriac.cli.completion", "Print the completion script for a shell."),
}
#: Celery's commands that are not offered, and what is in their place.
NOT_OFFERED = {
    "amqp": "there is no AMQP inside. `celeriac queue` and `celeriac dead` look at messages and move them.",
    "flower": "Flower brings it, with a Celery, in an environment of its own: "
    "pip install flower 'celery[redis]', then `celery -b redis://... flower` there.",
    "graph": "there are no bootsteps to draw. `celeriac status` and `celeriac inspect stats` show workers.",
}
#: Entry points by which other packages add commands of their own.
PLUGINS = ("celeriac.commands", "celery.commands")


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *(name for name in _plugins() if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return _plugin(name)
        module, _, attribute = COMMANDS[name][0].partition(":")
        command = getattr(import_module(module), attribute or name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name[:1] != "-" and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            raise click.UsageError(_unknown(name), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, said) for name, (_, said) in COMMANDS.items()]
        for name, entry in _plugins().items():
            if name not in COMMANDS:
                rows.append((name, f"From the package {entry.dist.name if entry.dist else '?'}."))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if error.option_name in GLOBAL_OPTIONS and error.ctx is not ctx:
                raise click.UsageError(_misplaced(error.option_name, error.ctx or ctx), error.ctx) from error
            raise
        except AppNotFound as error:
            raise click.UsageError(_unloaded(ctx, error), ctx) from error
        except CeleriacError as error:
            raise _Failed(str(error)) from error
        except (Exception, SystemExit) as error:
            said = told_if_imported(error)
            if said is None:
                raise
            raise _Failed(said) from error


def _unknown(name: str) -> str:
    if name in NOT_OFFERED:
        return f"{name} is a command of Celery that celeriac does not offer: {NOT_OFFERED[name]}"
    near = nearest(name, [*COMMANDS, *_plugins()])
    return f"No such command {name!r}" + (f": did you mean {near}?" if near else "; --help lists them.")


def _plugins() -> dict[str, Any]:
    """The entry points of other packages; looked for only where one may be meant, since it reads files."""
    from importlib.metadata import entry_points

    return {entry.name: entry for group in reversed(PLUGINS) for entry in entry_points(group=group)}


def _plugin(name: str) -> click.Command | None:
    entry = _plugins().get(name)
    if entry is None:
        return None
    try:
        command = entry.load()
    except Exception as error:
        raise click.UsageError(
            f"The command {name!r} comes from the package {entry.dist.name if entry.dist else '?'} "
            f"({entry.value}), which fails: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(command, click.Command):
        raise click.UsageError(f"The command {name!r} ({entry.value}) is no click command")
    return command


def _misplaced(option: str, ctx: click.Context) -> str:
    program_name = ctx.find_root().command_path
    command = ctx.command_path.removeprefix(program_name).strip()
    value = "" if option in FLAGS else " ..."
    return (
        f"{option} is a global option and stands before the command: {program_name} {option}{value} {command}"
    )


def _unloaded(ctx: click.Context, error: AppNotFound) -> str:
    said = f"Unable to load celery application.\n{error}"
    if ctx.get_parameter_source("app") is ParameterSource.ENVIRONMENT:
        said += "\n(-A was not given: the name came from CELERY_APP or APP in the environment.)"
    return said


@click.group(
    cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "-A",
    "--app",
    metavar="MODULE[:ATTRIBUTE]",
    envvar=["CELERY_APP", "APP"],
    help="The app: the module or package it is in.",
)
@click.option(
    "-b",
    "--broker",
    metavar="URL",
    envvar=["CELERY_BROKER_URL", "BROKER_URL"],
    help="Where messages wait; wins over the app's.",
)
@click.option(
    "--result-backend",
    metavar="URL",
    envvar=["CELERY_RESULT_BACKEND", "RESULT_BACKEND"],
    help="Where results go; wins over the app's.",
)
@click.option(
    "--loader",
    metavar="NAME",
    envvar=["CELERY_LOADER", "LOADER"],
    help="Accepted; celeriac has no loader classes.",
)
@click.option(
    "--config",
    metavar="MODULE",
    envvar=["CELERY_CONFIG_MODULE", "CONFIG_MODULE"],
    help="A module of settings, read over the app's.",
)
@click.option("--workdir", type=click.Path(exists=True, file_okay=False), help="Go to this folder first.")
@click.option("-C", "--no-color", is_flag=True, help="No colours.")
@click.option("-q", "--quiet", is_flag=True, help="No banner and no remarks.")
@click.option("--version", is_flag=True, help="Print the version and exit.")
@click.option("--skip-checks", is_flag=True, help="Skip Django's checks at the start.")
@click.pass_context
def program(
    ctx: click.Context,
    app: str | None,
    broker: str | None,
    result_backend: str | None,
    loader: str | None,
    config: str | None,
    workdir: str | None,
    no_color: bool,
    quiet: bool,
    version: bool,
    skip_checks: bool,
) -> None:
    """A distributed task queue. `celeriac -A main worker` starts a worker for the app in main.py."""
    if version:
        click.echo(f"celeriac {celeriac.__version__}")
        ctx.exit()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit()
    begun_in = str(Path.cwd())
    if workdir:
        os.chdir(workdir)
    # The environment wins over an app's settings and reaches every child, also a spawned one.
    if broker:
        os.environ["CELERY_BROKER_URL"] = broker
    if result_backend:
        os.environ["CELERY_RESULT_BACKEND"] = result_backend
    if skip_checks or os.environ.get("SKIP_CHECKS"):
        os.environ["CELERY_SKIP_CHECKS"] = "true"
    # https://no-color.org: any value that is not empty.
    no_color = no_color or bool(os.environ.get("NO_COLOR"))
    # `app.start()` hands the app itself over.
    own = ctx.obj if isinstance(ctx.obj, Celery) and app is None else None
    ctx.obj = Invocation(app, config, no_color, quiet, begun_in, own)
    ctx.call_on_close(ctx.obj.close)
    if loader:
        ctx.obj.remark(
            "--loader has no effect here because celeriac imports modules itself, without loader classes."
        )
