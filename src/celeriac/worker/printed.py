"""What a task prints, made into lines of the log."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import get_ident
from typing import Any, TextIO

from celeriac.request import current

#: Characters without an end of line that are shown all the same: a progress bar must not grow in memory.
LONGEST_LINE = 64 * 1024

#: Begun lines, by stream and by the task (or thread) that writes them: lines of two tasks never mix.
unfinished: dict[tuple[int, int], tuple[Printed, str]] = {}

#: True while a line is on its way through the log's handlers, where a handler itself may print.
_in_the_log: ContextVar[bool] = ContextVar("celeriac_in_the_log", default=False)


class Printed(io.TextIOBase):
    """Takes the place of sys.stdout or sys.stderr; a record for each line, or for one print of many lines."""

    def __init__(self, logger: logging.Logger, level: int, stream: TextIO) -> None:
        super().__init__()
        self._logger = logger
        self._level = level
        self._stream = stream

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if _in_the_log.get():
            # The log itself speaks (a handler that fails): to where it would have gone without us.
            return self._stream.write(text)
        speaker = _speaker(self)
        begun = unfinished.pop(speaker, None)
        line = begun[1] + text if begun else text
        if line.endswith("\n") or len(line) > LONGEST_LINE:
            self._say(line)
        elif line:
            unfinished[speaker] = (self, line)
        return len(text)

    def flush(self) -> None:
        """Show what was written, also without an end of line: `print(".", end="", flush=True)`."""
        if unfinished and (begun := unfinished.pop(_speaker(self), None)):
            self._say(begun[1])

    def _say(self, line: str) -> None:
        line = line.rstrip()
        if not line:
            return
        token = _in_the_log.set(True)
        try:
            self._logger.log(self._level, "%s", line)
        finally:
            _in_the_log.reset(token)

    # What programs ask a stream besides.

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Nobody closes the log by closing sys.stdout."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return getattr(self._stream, "errors", None)

    @property
    def buffer(self) -> Any:
        """Bytes are no lines: they go past the log."""
        return self._stream.buffer


def finish_lines() -> None:
    """Show the begun lines of the task that ends here; ask `if unfinished:` first, it is rarely so."""
    for stream in {stream for stream, _ in list(unfinished.values())}:
        stream.flush()


@contextmanager
def redirected(logger: logging.Logger, level: int) -> Iterator[None]:
    """Until the end, sys.stdout and sys.stderr lead into the log."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Printed(logger, level, before[0]), Printed(logger, level, before[1])
    try:
        yield
    finally:
        finish_lines()
        sys.stdout, sys.stderr = before


def _speaker(stream: Printed) -> tuple[int, int]:
    request = current()
    return id(stream), id(request) if request is not None else get_ident()
