"""`celery.utils.text`: small functions over texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pprint import pformat
from textwrap import dedent, fill
from typing import Any

__all__ = [
    "abbr",
    "dedent",
    "ensure_newlines",
    "fill_paragraphs",
    "indent",
    "join",
    "pluralize",
    "pretty",
    "simple_format",
    "str_to_list",
    "truncate",
]


def str_to_list(s: Any) -> list[str]:
    """`a,b` as a list; a list as it is."""
    return s.split(",") if isinstance(s, str) else s


def truncate(s: str, maxlen: int = 128, suffix: str = "...") -> str:
    """The text, cut after `maxlen` signs."""
    return s if len(s) <= maxlen else s[:maxlen].rstrip() + suffix


def abbr(S: str | None, max: int, ellipsis: str | bool = "...") -> str:  # noqa: N803 - Celery's name
    """The text in at most `max` signs, those counted that say it was cut."""
    if S is None:
        return "???"
    if len(S) <= max:
        return S
    return f"{S[: max - len(ellipsis)]}{ellipsis}" if isinstance(ellipsis, str) and ellipsis else S[:max]


def indent(t: str, indent: int = 0, sep: str = "\n") -> str:
    return sep.join(" " * indent + line for line in t.split(sep))


def join(l: Sequence[str | None], sep: str = "\n") -> str:  # noqa: E741 - Celery's name
    """The parts that are there."""
    return sep.join(part for part in l if part)


def ensure_newlines(s: str, n: int = 1, sep: str = "\n") -> str:
    """Ends with so many line ends at least."""
    present = len(s) - len(s.rstrip(sep))
    return s + sep * max(0, n - present)


def fill_paragraphs(s: str, width: int, sep: str = "\n") -> str:
    return sep.join(fill(paragraph, width) for paragraph in s.split(sep))


def pluralize(n: float, text: str, suffix: str = "s") -> str:
    return text if n == 1 else text + suffix


def pretty(value: Any, width: int = 80, nl_width: int = 80, sep: str = "\n", **kw: Any) -> str:
    """A value in as many lines as it needs."""
    if isinstance(value, dict):
        return f"{{{sep} {pformat(value, 4, nl_width)[1:]}"
    if isinstance(value, tuple):
        return f"{sep}{' ' * 4}{pformat(value, width=nl_width, **kw)}"
    return pformat(value, width=width, **kw)


def simple_format(
    s: str, keys: Mapping[str, Any], pattern: str = r"%(\w)", expand: str = r"%([a-zA-Z%])"
) -> str:
    """Fill in `%n` by the keys; `%%` is a percent sign. A value may be a function."""

    def fill_in(match: re.Match[str]) -> str:
        value = {"%": "%", **keys}[match[1]]
        return str(value() if callable(value) else value)

    return re.sub(expand, fill_in, s) if s else s
