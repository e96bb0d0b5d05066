"""What systemd is told of a service: that it is ready, reloads, stops, and is not stuck (sd_notify).

One datagram each, to the socket that the environment names; where it names none nothing is said.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Systemd:
    """Of one main process, which alone may speak for the service."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]  # an abstract name
        meant = environ.get("WATCHDOG_PID") in (None, str(os.getpid()))
        microseconds = environ.get("WATCHDOG_USEC", "0")
        #: Seconds between two signs of life, half of what the watchdog allows; 0: it does not watch.
        self.pause = int(microseconds) / 2e6 if meant and microseconds.isdecimal() else 0.0
        self._next_sign = 0.0

    def ready(self) -> None:
        self._say("READY=1")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def reloading(self) -> None:
        """The same process will say that it is ready again."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def alive(self) -> None:
        """A sign for the watchdog, as often as it is needed; to be called whenever something is done."""
        if self.pause and time.monotonic() >= self._next_sign:
            self._next_sign = time.monotonic() + self.pause
            self._say("WATCHDOG=1")

    def _say(self, words: str) -> None:
        if not self._address:
            return
        # A service that cannot tell of itself still works.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(words.encode(), self._address)
