"""An exception with its traceback as text, as handlers and signals get it."""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Iterator
from types import TracebackType


class ExceptionInfo:
    """What is known of a failure: `exception`, `type`, `traceback` (text), `tb` (Python's own)."""

    __slots__ = ("_text", "exception", "internal", "tb", "type")

    def __init__(self, exception: BaseException, internal: bool = False) -> None:
        self.exception = exception
        self.type = type(exception)
        self.tb = traceback_of(exception)
        self.internal = internal
        self._text: str | None = None

    @property
    def traceback(self) -> str:
        # Made for who asks: it costs more than a run of a task.
        if self._text is None:
            self._text = traceback_text(self.exception)
        return self._text

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.type.__name__}>"

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (self.exception, self.traceback, self.internal)


def traceback_of(exception: BaseException) -> TracebackType | None:
    """Python's own traceback, whatever else the class may give under that name."""
    found: TracebackType | None = vars(BaseException)["__traceback__"].__get__(exception)
    return found


def as_raised(error: BaseException) -> BaseException:
    """Python hides a StopIteration that leaves a coroutine or a generator in a RuntimeError. Ours are such,
    and who wrote the task has never heard of them; his own generators hide it as they always do."""
    cause = error.__cause__
    if type(error) is not RuntimeError or not isinstance(cause, StopIteration):
        return error
    hides = str(error) == "coroutine raised StopIteration" or (
        str(error) == "generator raised StopIteration" and _is_ours(traceback_of(error))
    )
    return cause if hides else error


def _is_ours(tb: TracebackType | None) -> bool:
    """Whether it was raised in a line of this package."""
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return tb is not None and str(tb.tb_frame.f_globals.get("__name__")).startswith("celeriac.")


def traceback_text(exception: BaseException) -> str:
    """The traceback as Python prints it; an exception that cannot show itself still gives its frames."""
    try:
        return "".join(tracebacks.format_exception(exception))
    except Exception:
        frames = "".join(tracebacks.format_tb(traceback_of(exception)))
        last = f"{type(exception).__name__}: <its text cannot be shown>"
        return f"Traceback (most recent call last):\n{frames}{last}\n"


def short_traceback(exception: BaseException) -> str:
    """The same without marks below the places in each line, which take as long as all else."""
    try:
        shown = tracebacks.TracebackException.from_exception(exception, compact=True)
        for frame in _frames_of(shown):
            frame.colno = None
        return "".join(shown.format())
    except Exception:
        return traceback_text(exception)


def _frames_of(shown: tracebacks.TracebackException | None) -> Iterator[tracebacks.FrameSummary]:
    while shown is not None:
        yield from shown.stack
        shown = shown.__cause__ or shown.__context__


def _restored(exception: BaseException, text: str, internal: bool) -> ExceptionInfo:
    info = ExceptionInfo(exception, internal)
    info._text = text
    return info
