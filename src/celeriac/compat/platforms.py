"""`celery.platforms`: codes with which programs end, and where they run."""

from __future__ import annotations

import errno
import os
import platform
import resource
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = [
    "EX_CANTCREAT",
    "EX_FAILURE",
    "EX_OK",
    "EX_UNAVAILABLE",
    "EX_USAGE",
    "IS_WINDOWS",
    "SYSTEM",
    "IS_macOS",
    "close_open_fds",
    "get_errno_name",
    "ignore_errno",
    "isatty",
    "pyimplementation",
    "signal_name",
    "signals",
]

EX_OK = 0
EX_FAILURE = 1
EX_USAGE = os.EX_USAGE
EX_UNAVAILABLE = os.EX_UNAVAILABLE
EX_CANTCREAT = os.EX_CANTCREAT

_FILES = resource.RLIMIT_NOFILE

SYSTEM = platform.system()
IS_macOS = SYSTEM == "Darwin"
IS_WINDOWS = SYSTEM == "Windows"


def pyimplementation() -> str:
    return platform.python_implementation()


def isatty(fh: Any) -> bool | None:
    """Whether a person sits there."""
    return bool(fh.isatty()) if hasattr(fh, "isatty") else None


def signal_name(num: int) -> str:
    """15 is TERM."""
    return signal.Signals(num).name.removeprefix("SIG")


def get_errno_name(n: str | int) -> int:
    """The number of an errno by its name."""
    return int(getattr(errno, n)) if isinstance(n, str) else n


def close_open_fds(keep: Iterable[Any] | None = None) -> None:
    """Close all files of this process but these and those of the terminal. Nothing here calls it."""
    kept = {one if isinstance(one, int) else one.fileno() for one in keep or ()} | {0, 1, 2}
    low = 3
    for descriptor in (*sorted(number for number in kept if number > 2), resource.getrlimit(_FILES)[0]):
        os.closerange(low, descriptor)
        low = descriptor + 1


@contextmanager
def ignore_errno(*errnos: str | int, **kwargs: Any) -> Iterator[None]:
    """Inside, these errors of the system are none."""
    ignored = tuple(map(get_errno_name, errnos))
    try:
        yield
    except kwargs.get("types", (OSError,)) as error:
        if error.errno not in ignored:
            raise


class Signals:
    """Handlers of this process by the names of their signals: `signals["INT"] = handler`."""

    ignored, default = signal.SIG_IGN, signal.SIG_DFL

    def signum(self, name: str | int) -> int:
        """TERM and SIGTERM are 15."""
        return name if isinstance(name, int) else signal.Signals[f"SIG{name.removeprefix('SIG')}"].value

    def supported(self, name: str) -> bool:
        return f"SIG{name.removeprefix('SIG')}" in signal.Signals.__members__

    def __getitem__(self, name: str | int) -> Any:
        return signal.getsignal(self.signum(name))

    def __setitem__(self, name: str | int, handler: Any) -> None:
        signal.signal(self.signum(name), handler)

    def update(self, _several: dict[str, Any] | None = None, **handlers: Callable[..., Any]) -> None:
        for name, handler in {**(_several or {}), **handlers}.items():
            self[name] = handler

    def ignore(self, *names: str) -> None:
        for name in names:
            self[name] = self.ignored

    def reset(self, *names: str) -> None:
        """As a new process has them."""
        for name in names:
            self[name] = self.default


signals = Signals()
