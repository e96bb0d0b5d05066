"""`celeriac inspect`, `control` and `status`: ask workers and tell them, from the command line."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from inspect import signature
from pprint import pformat
from typing import Any, Literal

import click

from celeriac.cli.invocation import Invocation, pass_invocation
from celeriac.cli.table import show_json
from celeriac.cli.values import names
from celeriac.nearest import nearest
from celeriac.panel import CommandInfo, Panel, panel
from celeriac.worker.banner import shown_store
from celeriac.worker.commands import commands

#: Exit code when nobody answers (EX_UNAVAILABLE).
NOBODY = 69

Kind = Literal["inspect", "control"]

_timeout = click.option(
    "-t",
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Wait so long for the next answer. When all have answered nobody waits. [1]",
)
_destination = click.option(
    "-d", "--destination", type=names, metavar="A,B,...", help="Only these nodes, as in worker1@host."
)
_json = click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")


def _asking(kind: Kind, help: str) -> click.Command:
    """`inspect` and `control` differ in nothing but the commands that they know."""

    @click.command(kind, help=help)
    @click.argument("command", required=False)
    @click.argument("arguments", nargs=-1)
    @_timeout
    @_destination
    @_json
    @click.option("-l", "--list", "listed", is_flag=True, help="Show all commands and end.")
    @pass_invocation
    def ask(
        invocation: Invocation,
        command: str | None,
        arguments: tuple[str, ...],
        timeout: float | None,
        destination: tuple[str, ...] | None,
        as_json: bool,
        listed: bool,
    ) -> None:
        _ = invocation.app  # its modules may declare commands of their own
        if listed or command is None:
            _show_commands(kind)
            if not listed:
                raise click.UsageError(f"Which command? One of those above: {kind} NAME")
            return
        info = _info(kind, command)
        said = _named(info, arguments)
        replies = _ask(invocation, info.name, said, timeout or max(1.0, info.default_timeout), destination)
        nodes = _merged(replies)
        if as_json:
            show_json(nodes)
        else:
            for node in sorted(nodes):
                _show_answer(node, nodes[node])
        say_how_many(invocation, replies, as_json)
        if any(isinstance(answer, dict) and "error" in answer for answer in nodes.values()):
            sys.exit(1)

    return ask


inspect = _asking(
    "inspect", "Ask workers: `inspect active`, `inspect ping`, `inspect query_task ID ...`; --list shows all."
)
control = _asking(
    "control", "Tell workers: `control rate_limit shop.pay 10/m`, `control pool_grow 2`; --list shows all."
)


@click.command()
@_timeout
@_destination
@_json
@pass_invocation
def status(
    invocation: Invocation, timeout: float | None, destination: tuple[str, ...] | None, as_json: bool
) -> None:
    """Show which workers are there."""
    replies = _ask(invocation, "ping", {}, timeout, destination)
    if as_json:
        show_json(_merged(replies))
    else:
        for node in sorted(_merged(replies)):
            click.echo(f"->  {node}: OK")
    say_how_many(invocation, replies, as_json)


def _ask(
    invocation: Invocation,
    command: str,
    said: dict[str, Any],
    timeout: float | None,
    destination: Sequence[str] | None,
) -> list[dict[str, Any]]:
    replies: list[dict[str, Any]] | None = invocation.app.control.broadcast(
        command, said, destination, reply=True, timeout=timeout or 1.0
    )
    return replies or []


def _merged(replies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {node: answer for reply in replies for node, answer in reply.items()}


def _known(kind: Kind) -> dict[str, CommandInfo]:
    """By name and by alias."""
    known = {}
    for place in (commands, panel):
        for info in place.meta.values():
            if info.type == kind:
                known[info.name] = info
                if info.alias:
                    known[info.alias] = info
    return known


def _info(kind: Kind, command: str) -> CommandInfo:
    known = _known(kind)
    if command in known:
        return known[command]
    other: Kind = "control" if kind == "inspect" else "inspect"
    if command in _known(other):
        raise click.UsageError(f"{command} is a command of `{other}`: celeriac {other} {command}")
    near = nearest(command, known)
    hint = f"did you mean {near}?" if near else "--list shows all."
    raise click.UsageError(f"There is no command {command!r} to {kind}: {hint}")


def _named(info: CommandInfo, arguments: Sequence[str]) -> dict[str, Any]:
    """Positional arguments by the names that the command gives them."""
    known = list(info.args or ())
    left = list(arguments)
    said: dict[str, Any] = {}
    for name, kind in known:
        if name == info.variadic or not left:
            break
        text = left.pop(0)
        try:
            said[name] = kind(text)
        except ValueError:
            raise click.UsageError(
                f"{text!r} is no {kind.__name__}: {info.name} {info.signature or ''}"
            ) from None
    needed = min(len(known), (info.signature or "").count("<"))
    if len(said) < needed:
        raise click.UsageError(f"{info.name} needs more: {info.name} {info.signature}")
    if info.variadic and left:
        said[info.variadic] = left
    elif info.variadic and _must_be_said(info, info.variadic):
        raise click.UsageError(f"{info.name} needs more: {info.name} {info.signature or info.variadic}")
    elif left:
        usage = f"{info.name} {info.signature or ''}".rstrip()
        raise click.UsageError(f"{info.name} takes no further argument {left[0]!r}: {usage}")
    return said


def _must_be_said(info: CommandInfo, argument: str) -> bool:
    handler = commands.get(info.name) or panel[info.name]
    parameter = signature(handler).parameters.get(argument)
    return parameter is not None and parameter.default is parameter.empty


def _show_commands(kind: Kind) -> None:
    for place in _places():
        for info in sorted(place.meta.values(), key=lambda info: info.name):
            if info.type == kind and info.visible:
                click.echo(f"{info.name} {info.signature or ''}".rstrip())
                click.echo(f"    {info.help or ''}")


def _places() -> tuple[Panel, Panel]:
    return commands, panel


def _show_answer(node: str, answer: Any) -> None:
    how, said = "OK", answer
    if isinstance(answer, dict) and "error" in answer:
        how, said = click.style("ERROR", fg="red"), answer["error"]
    elif isinstance(answer, dict) and answer.keys() == {"ok"}:
        said = answer["ok"]
    click.echo(f"->  {node}: {how}")
    for line in _lines(said):
        click.echo(f"        {line}".rstrip())


def _lines(said: Any) -> list[str]:
    if isinstance(said, str):
        return said.splitlines()
    if isinstance(said, list):
        shown = [line for one in said for line in _item(one)]
        return shown or ["- empty -"]
    return [] if said is None else pformat(said, width=100).splitlines()


def _item(one: Any) -> list[str]:
    first, *more = one.splitlines() if isinstance(one, str) else pformat(one, width=100).splitlines()
    return [f"* {first}", *(f"  {line}" for line in more)]


def say_how_many(invocation: Invocation, replies: Sequence[dict[str, Any]], as_json: bool) -> None:
    if not replies:
        click.echo("Error: No nodes replied within time constraint", err=True)
        store = shown_store(invocation.app.broker_url)
        invocation.remark(f"(Asked by way of {store}, which -A or -b names: is a worker running there?)")
        sys.exit(NOBODY)
    answered = Counter(node for reply in replies for node in reply)
    double = ", ".join(sorted(node for node, times in answered.items() if times > 1))
    if double:
        invocation.remark(
            f"Several workers are called {double}, and of these one answer is shown. "
            "Give each a name of its own, as in -n w1@%h"
        )
    if not as_json:
        click.echo(f"\n{len(replies)} node{'' if len(replies) == 1 else 's'} online.")
