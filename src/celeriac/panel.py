"""Commands of your own for remote control.

    @inspect_command()
    def free_disk(state):
        return shutil.disk_usage("/").free

    @control_command(args=[("level", str)], signature="[LEVEL]")
    def log_level(state, level="INFO"): ...

`celeriac inspect free_disk` asks every worker. `state` has `app`, `hostname` and what the worker serves. The
command runs in a fork of the worker's main process: it sees what that has imported and cannot hold it up, and
what it changes there is gone with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

Handler = Callable[..., Any]


class CommandInfo(NamedTuple):
    """What is known of a command beside what it does."""

    name: str
    type: Literal["control", "inspect"]
    alias: str | None = None
    visible: bool = True
    #: Seconds that a client waits for answers.
    default_timeout: float = 1.0
    help: str | None = None
    #: How its arguments are shown.
    signature: str | None = None
    #: (name, type) of positional arguments.
    args: Sequence[tuple[str, Callable[[str], Any]]] | None = None
    #: The argument that takes all the others.
    variadic: str | None = None


class Panel(dict[str, Handler]):
    """All commands by their names and aliases."""

    #: Handlers, and what is known of them.
    data: dict[str, Handler]
    meta: dict[str, CommandInfo]

    def __init__(self) -> None:
        super().__init__()
        self.data = self
        self.meta = {}

    def register(self, *function: Handler, **options: Any) -> Any:
        """Add a command, bare or with options, as `control_command`."""
        return self._register(function[0], **options) if function else lambda f: self._register(f, **options)

    def _register(
        self,
        function: Handler,
        name: str | None = None,
        type: Literal["control", "inspect"] = "control",
        **options: Any,
    ) -> Handler:
        known = name or function.__name__
        lines = (function.__doc__ or "").strip().splitlines()
        options.setdefault("help", lines[0] if lines else None)
        info = CommandInfo(known, type, **options)
        for word in filter(None, (known, info.alias)):
            self[word] = function
        self.meta[known] = info
        return function


#: Of this process: what user code has added.
panel = Panel()


def control_command(*function: Handler, **options: Any) -> Any:
    """A command that changes something: name, alias, args, signature, help, variadic, default_timeout."""
    return panel.register(*function, type="control", **options)


def inspect_command(*function: Handler, **options: Any) -> Any:
    """A command that tells something; options as above."""
    return panel.register(*function, type="inspect", **options)


def ok(value: object) -> dict[str, object]:
    """An answer that it is done."""
    return {"ok": value}


def nok(value: object) -> dict[str, object]:
    """An answer that it cannot be done."""
    return {"error": value}
