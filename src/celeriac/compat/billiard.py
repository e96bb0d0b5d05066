"""What programs that watch tasks import from billiard: for environments in which it is not installed."""

from __future__ import annotations

from celeriac.einfo import ExceptionInfo

__all__ = ["VERSION", "ExceptionInfo", "ExceptionWithTraceback"]

#: The billiard whose names these are.
VERSION = (4, 3, 2)


class ExceptionWithTraceback(Exception):
    """An exception on its way between processes; ours travel by other means, so there never is one."""

    exc: BaseException | None = None
