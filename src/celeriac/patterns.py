"""Which nodes a command is meant for, where it says so by a pattern of their names."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial

from celeriac.exceptions import ImproperlyConfigured


def matcher_of(pattern: str, matcher: str | None) -> Callable[[str], bool]:
    """Tells whether a name fits: by a glob (`web*@*`), or by a regular expression where matcher is "pcre"."""
    if matcher in (None, "glob"):
        return partial(_fits, pattern)
    if matcher in ("pcre", "regex"):
        try:
            return partial(_found, re.compile(pattern))
        except re.error as error:
            raise ImproperlyConfigured(f"{pattern!r} is no regular expression: {error}") from None
    raise ImproperlyConfigured(f"there is no matcher {matcher!r}; known are glob and pcre")


def _fits(pattern: str, name: str) -> bool:
    return fnmatchcase(name, pattern)


def _found(expression: re.Pattern[str], name: str) -> bool:
    return expression.match(name) is not None
