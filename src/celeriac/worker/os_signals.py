"""Signals of the operating system as numbers in a list, each of which ends the wait of a loop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

from celeriac.worker import originals


class ReceivedSignals:
    """Inside, each that comes is put into the list `received`, and calls `at_once` between any two lines.
    Gives the descriptor to poll."""

    NUMBERS = (
        *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR1),
        signal.SIGALRM,
    )

    def __init__(self, received: list[int], at_once: Callable[[int], None]) -> None:
        self._received = received
        self._at_once = at_once
        self._before: dict[int, object] = {}

    def __enter__(self) -> int:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        for number in self.NUMBERS:
            self._before[number] = originals.handle(number, self._note)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self._reader

    def __exit__(self, *_: object) -> None:
        # It would go on in the program that a restart makes of this process.
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            originals.handle(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._at_once(number)
        if number != signal.SIGALRM:
            self._received.append(number)
