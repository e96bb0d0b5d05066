"""A log in a file that may be rotated, moved away and filled up, and costs nobody more than its lines.

A line that cannot be written there is shown on standard error, and who logs goes on.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from logging.handlers import WatchedFileHandler
from typing import TextIO


class LogFile(WatchedFileHandler):
    """Opens the file anew when another one, or none, is in its place."""

    def __init__(self, path: str, elsewhere: TextIO, *, delay: bool = False) -> None:
        super().__init__(path, encoding="utf-8", delay=delay)
        self._elsewhere = elsewhere

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:
            # It could not be opened anew. The library lets that through to whoever logs, a task or the
            # supervisor; the next line tries again.
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)  # a mistake of the line itself
            return
        why = error.strerror or error
        with contextlib.suppress(OSError, ValueError):
            print(
                f"{self.format(record)}\n  (the log file {self.baseFilename} cannot be written: {why})",
                file=self._elsewhere,
                flush=True,
            )
