"""`celeriac multi`: start and stop several workers of one machine in the background."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from celeriac.cli.invocation import GLOBAL_OPTIONS, Invocation, pass_invocation
from celeriac.cli.nodes import LOGFILE, PIDFILE, Node, Said, nodes, read, signal_named
from celeriac.cli.worker import worker
from celeriac.compat.nodenames import gethostname, node_format

#: Options of `multi` itself, by whether they take a value.
_OWN = {
    "--cmd": True, "--append": True, "--prefix": True, "--suffix": True, "--range-prefix": True,
    "--executable": True,
    "--nosplash": False, "--quiet": False, "-q": False, "--verbose": False, "--no-color": False,
}  # fmt: skip
#: Seconds between two looks whether a node has gone.
_LOOK = 0.05


@click.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "max_content_width": 100,
    }
)
@click.argument(
    "arguments", nargs=-1, type=click.UNPROCESSED, metavar="ACTION [NODE]... [OPTIONS OF WORKER]..."
)
@pass_invocation
@click.pass_context
def multi(ctx: click.Context, invocation: Invocation, arguments: tuple[str, ...]) -> None:
    """Start and stop several workers of this machine in the background.

    \b
    start NODE...      start them; a single number N means celery1 ... celeryN
    stop NODE...       ask them to finish what runs; -9, -QUIT, -HUP: send that signal
    stopwait NODE...   the same, and wait until they have gone
    restart NODE...    stopwait, then start
    kill NODE...       end them at once
    show NODE...       print the commands that start would run
    names NODE...      print their full names
    expand TEXT NODE.. fill in %n, %h and %p
    get NODE OPTION    print what OPTION is for NODE

    \b
    What follows is given to each worker; an option may be meant for some nodes alone:
      celeriac multi start 3 -A proj -l info -c 4 -c:1 8 -Q:2,3 mail --pidfile=%n.pid -f %n%I.log

    Stopping finds a node by its pidfile: give the same --pidfile as for the start.
    """
    flags, valued = _options_of_a_worker(ctx)
    said = read(arguments, flags, valued)
    if said.action == "help":
        click.echo(ctx.get_help())
        return
    action = _ACTIONS.get(said.action)
    if action is None:
        raise click.UsageError(f"there is no action {said.action!r}: take one of {', '.join(_ACTIONS)}")
    cluster = Cluster(said, invocation, quiet=bool(invocation.quiet or said.own("-q") is not None
                      or said.own("--quiet") is not None))  # fmt: skip
    sys.exit(action(cluster))


class Cluster:
    """The nodes of one command line, and what can be done to them."""

    def __init__(self, said: Said, invocation: Invocation, *, quiet: bool) -> None:
        self._said = said
        self._invocation = invocation
        self._quiet = quiet

    def start(self) -> int:
        self._headline("Starting nodes...")
        return max([self._start(node) for node in self._nodes()], default=0)

    def stop(self, number: int | None = None, *, wait: bool = False) -> int:
        number = number or self._signal()
        living = [(node, pid) for node in self._nodes() if (pid := self._pid(node)) is not None]
        gone = [node for node in self._nodes() if self._pid(node) is None]
        self._headline("Stopping nodes...")
        for node in gone:
            self._note(f"{node.name}: DOWN")
        for node, pid in living:
            self._note(f"{node.name}: {signal.Signals(number).name.removeprefix('SIG')} -> {pid}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if wait and living:
            count = f"{len(living)} node{'' if len(living) == 1 else 's'}"
            self._headline(f"Waiting for {count} -> {', '.join(str(pid) for _, pid in living)}")
            for node, pid in living:
                while _lives(pid):
                    time.sleep(_LOOK)
                self._note(f"{node.name}: OK")
        return 0

    def stopwait(self) -> int:
        return self.stop(wait=True)

    def restart(self) -> int:
        self.stop(wait=True)
        return self.start()

    def kill(self) -> int:
        return self.stop(signal.SIGKILL)

    def show(self) -> int:
        for node in self._nodes():
            click.echo(shlex.join(self._command(node)))
        return 0

    def names(self) -> int:
        for node in self._nodes():
            click.echo(node.name)
        return 0

    def expand(self) -> int:
        if not self._said.words:
            raise click.UsageError("expand: give a text such as %n.log, then nodes")
        text, *names = self._said.words
        for node in self._nodes(names):
            click.echo(node_format(text, node.name))
        return 0

    def get(self) -> int:
        if len(self._said.words) != 2:
            raise click.UsageError(
                "get: give a node and the name of an option, as in: get w1 logfile -f w1.log"
            )
        (node,) = self._nodes(self._said.words[:1])
        option = self._said.words[1].lstrip("-")
        value = node.value(f"--{option}", node.value(f"-{option}", ""))
        if not value:
            return 1
        click.echo(value)
        return 0

    # -- one node

    def _nodes(self, names: Sequence[str] | None = None) -> list[Node]:
        names = self._said.words if names is None else names
        if not names:
            raise click.UsageError(f"{self._said.action}: name the nodes, or say how many")
        signals = {name for name, _, _ in self._said.options if signal_named(name) is not None}
        return nodes(self._said, names, _OWN.keys() | signals, gethostname())

    def _start(self, node: Node) -> int:
        for option, default in (("--pidfile", PIDFILE), ("--logfile", LOGFILE)):
            if node.value(option, default) == default:
                with contextlib.suppress(OSError):  # the worker will say what is wrong with it
                    Path(default).parent.mkdir(parents=True, exist_ok=True)
        command = self._command(node)
        if self._said.own("--verbose") is not None:
            click.echo(f"\t  {shlex.join(command)}")
        code = subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode
        self._note(f"{node.name}: {'OK' if code == 0 else f'FAILED (exit code {code})'}", always=code != 0)
        return code

    def _command(self, node: Node) -> list[str]:
        """A worker's: the options that stand before the command, the command, the rest."""
        before = ["-A", self._invocation.app_spec] if self._invocation.app_spec else []
        given = {name for name, _ in node.options}
        append = self._said.own("--append")
        return [
            self._said.own("--executable") or sys.executable,
            *("-m", "celery" if Path(sys.argv[0]).name == "celery" else "celeriac"),
            *([] if given & {"-A", "--app"} else before),
            *node.words(_is_global),
            *shlex.split(self._said.own("--cmd") or "worker --detach"),
            *("-n", node.name),
            *([] if "--pidfile" in given else [f"--pidfile={PIDFILE}"]),
            *([] if given & {"-f", "--logfile"} else [f"--logfile={LOGFILE}"]),
            *node.words(lambda name: not _is_global(name)),
            *node.rest,
            *([] if append is None else shlex.split(append)),
        ]

    def _pid(self, node: Node) -> int | None:
        """Its process, if it lives."""
        try:
            pid = int(Path(node_format(node.value("--pidfile", PIDFILE), node.name)).read_text())
        except (OSError, ValueError):
            return None
        return pid if pid > 0 and _lives(pid) else None  # others mean many processes

    def _signal(self) -> int:
        for name, _, _ in self._said.options:
            number = signal_named(name)
            if number is not None:
                if number not in set(signal.Signals):
                    raise click.UsageError(f"{name}: there is no signal of this number")
                return number
        return signal.SIGTERM

    def _headline(self, text: str) -> None:
        if not self._quiet:
            click.echo(f"> {text}")

    def _note(self, text: str, always: bool = False) -> None:
        if always or not self._quiet:
            click.echo(f"\t> {text}", err=always)


_ACTIONS: dict[str, Callable[[Cluster], int]] = {
    "start": Cluster.start,
    "stop": Cluster.stop,
    "stopwait": Cluster.stopwait,
    "stop_verify": Cluster.stopwait,
    "restart": Cluster.restart,
    "kill": Cluster.kill,
    "show": Cluster.show,
    "names": Cluster.names,
    "expand": Cluster.expand,
    "get": Cluster.get,
}


def _options_of_a_worker(ctx: click.Context) -> tuple[set[str], set[str]]:
    """Those that take no value, and those that do."""
    flags = {name for name, takes in _OWN.items() if not takes}
    valued = {name for name, takes in _OWN.items() if takes}
    for command in (ctx.find_root().command, worker):
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                (flags if parameter.is_flag else valued).update(parameter.opts)
    return flags, valued


def _is_global(option: str) -> bool:
    return option in GLOBAL_OPTIONS


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
