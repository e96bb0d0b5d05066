"""What `celeriac multi` is told, taken apart: which nodes, and what each is started with.

    multi start 3 -A proj -c 4 -c:1 8 -Q:2,3 mail

means celery1, celery2 and celery3; the first with -c 8, the others with -c 4 and -Q mail.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Sequence

import click
import msgspec

#: Where a node is looked for unless told otherwise.
PIDFILE, LOGFILE = "/var/run/celery/%n.pid", "/var/log/celery/%n%I.log"

#: Written either way.
_SHORT = {"-n": "--hostname", "-f": "--logfile"}


class Node(msgspec.Struct, frozen=True):
    """One worker of a cluster."""

    name: str
    #: (option, value) in the order given; the value of a flag is None.
    options: tuple[tuple[str, str | None], ...]
    #: What stood after `--`.
    rest: tuple[str, ...]

    def value(self, option: str, default: str) -> str:
        """What was said last of this option."""
        found = default
        for name, value in self.options:
            if _SHORT.get(name, name) == option and value is not None:
                found = value
        return found

    def words(self, wanted: Callable[[str], bool]) -> list[str]:
        """The options whose name is wanted, as a command line."""
        return [
            word
            for name, value in self.options
            if wanted(name)
            for word in (
                [name] if value is None else [f"{name}={value}"] if name[:2] == "--" else [name, value]
            )
        ]


class Said(msgspec.Struct, frozen=True):
    """A command line of `multi`."""

    action: str
    #: What stood beside the options, after the action.
    words: tuple[str, ...]
    #: Option -> values, by the nodes that it is meant for; "" is all of them.
    options: tuple[tuple[str, str, str | None], ...]
    rest: tuple[str, ...]

    def own(self, option: str) -> str | None:
        """An option of `multi` itself; the empty text is that of a flag."""
        for name, _, value in reversed(self.options):
            if name == option:
                return value or ""
        return None


def read(arguments: Sequence[str], flags: Collection[str], valued: Collection[str]) -> Said:
    """Take it apart; `flags` and `valued` are the options that take no value and those that do."""
    words: list[str] = []
    options: list[tuple[str, str, str | None]] = []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        name, equals, value = word.partition("=")
        name, _, nodes = name.partition(":")
        if equals:
            options.append((name, nodes, value))
        elif name in flags or signal_named(name) is not None:
            options.append((name, nodes, None))
        elif name[:2] != "--" and len(name) > 2 and name[:2] in valued:
            options.append((name[:2], nodes, name[2:]))
        elif waiting and (name in valued or (name[:2] != "--" and waiting[0][:1] != "-")):
            options.append((name, nodes, waiting.pop(0)))
        else:
            options.append((name, nodes, None))
    if not words:
        raise click.UsageError(
            "say what to do: start, stop, stopwait, restart, kill, show, names, expand or get"
        )
    return Said(words[0], tuple(words[1:]), tuple(options), tuple(waiting))


def nodes(said: Said, names: Sequence[str], own: Collection[str], host: str) -> list[Node]:
    """The nodes that are meant; a single number is that many. `own` are the options of `multi` itself."""
    if len(names) == 1 and names[0].isdecimal():
        stem = said.own("--range-prefix") or "celery"
        names = [f"{stem}{number}" for number in range(1, int(names[0]) + 1)]
    prefix, suffix = said.own("--prefix") or "", said.own("--suffix") or host
    full = [
        name if "@" in name else f"{prefix}{name}@{suffix.strip(chr(34)).strip(chr(39))}" for name in names
    ]
    for option, meant, _ in said.options:
        unknown = [one for one in _meant(meant) if not _fits(one, full)]
        if unknown:
            raise click.UsageError(
                f"{option}:{meant}: there is no node {unknown[0]!r} among {', '.join(full)}"
            )
    return [
        Node(
            name,
            tuple(
                (option, value)
                # What is said of this node comes after what is said of all, and wins.
                for special in (False, True)
                for option, meant, value in said.options
                if option not in own and bool(meant) == special
                and (not meant or any(_is(one, name, place) for one in _meant(meant)))
            ),
            said.rest,
        )
        for place, name in enumerate(full, 1)
    ]  # fmt: skip


def _meant(nodes: str) -> list[str]:
    """`1,3-5,mail` -> 1 3 4 5 mail."""
    found = []
    for part in filter(None, nodes.split(",")):
        first, dash, last = part.partition("-")
        if dash and first.isdecimal() and last.isdecimal():
            found += [str(number) for number in range(int(first), int(last) + 1)]
        else:
            found.append(part)
    return found


def _is(meant: str, name: str, place: int) -> bool:
    return meant == str(place) or meant in (name, name.partition("@")[0])


def _fits(meant: str, names: Sequence[str]) -> bool:
    return any(_is(meant, name, place) for place, name in enumerate(names, 1))


def signal_named(option: str) -> int | None:
    """The number of `-9`, `-TERM` or `-SIGTERM`; None for any other option."""
    word = option.removeprefix("-")
    if word.isdecimal():
        return int(word)
    name = f"SIG{word.removeprefix('SIG')}"
    known = word.isupper() and len(word) > 2 and name in signal.Signals.__members__
    return int(signal.Signals[name]) if known else None
