"""Options that an app adds to `worker` or `beat`, or by the word `preload` to both.

app.user_options["worker"].add(click.Option(["--site"], help="Which site it works for."))

@celeryd_init.connect
def configure(sender, options, **kwargs):
    options["site"]

What is said of those of `preload` goes to the receivers of `user_preload_options`.
"""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli.invocation import Invocation
from celeriac.signals import user_preload_options


class CommandWithOwnOptions(click.Command):
    """Asks the app for its options where something is said that is none of ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, list(args))
        except click.NoSuchOption:
            known = {option.name for option in self.params}
            added = [option for option in self._own(ctx) if option.name not in known]
            if not added:
                raise
            self.params += added
            return super().parse_args(ctx, list(args))

    def _own(self, ctx: click.Context) -> list[click.Option]:
        invocation = ctx.find_object(Invocation)
        if invocation is None or invocation.app_spec is None:
            return []
        return own_options(invocation, self.name or "")


def own_options(invocation: Invocation, command: str) -> list[click.Option]:
    """What the app adds to this command."""
    added = invocation.app.user_options
    both = {*added.get(command, ()), *added.get("preload", ())}
    return sorted(both, key=lambda option: option.name or "")


def said_by_own(invocation: Invocation, command: str, said: dict[str, Any]) -> dict[str, Any]:
    """What was said of them."""
    if not invocation.app.user_options:
        return {}
    return {
        option.name: said[option.name] for option in own_options(invocation, command) if option.name in said
    }


def tell_preloaded(invocation: Invocation, command: str, said: dict[str, Any]) -> None:
    """Tell the receivers of user_preload_options what was said of these."""
    if user_preload_options.receivers:
        names = {option.name for option in invocation.app.user_options.get("preload", ())}
        options = {name: said[name] for name in names if name in said}
        user_preload_options.send(command, app=invocation.app, options=options)
