"""`celeriac completion`: what a shell needs to complete our commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

#: Where each shell looks for it.
_PLACES = {
    "bash": "~/.local/share/bash-completion/completions/{name}",
    "zsh": "a folder of your $fpath, as _{name}",
    "fish": "~/.config/fish/completions/{name}.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(sorted(_PLACES)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL; put it where the shell looks for it.

    \b
    bash: celeriac completion bash > ~/.local/share/bash-completion/completions/celeriac
    zsh:  celeriac completion zsh > ~/.zfunc/_celeriac     (with ~/.zfunc in $fpath)
    fish: celeriac completion fish > ~/.config/fish/completions/celeriac.fish
    """
    root = ctx.find_root()
    name = (root.info_name or "celeriac").rsplit(" ", 1)[-1].rsplit("/", 1)[-1]
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(root.command, {}, name, f"_{name.replace('-', '_').upper()}_COMPLETE").source())
    click.echo(f"# This belongs into {_PLACES[shell].format(name=name)}", err=True)
