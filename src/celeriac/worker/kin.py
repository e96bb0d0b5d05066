"""One child as its parent sees it: what it is told, what it says, how it is stopped and killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from celeriac.polling import readable
from celeriac.worker import originals
from celeriac.worker.births import Lines
from celeriac.worker.child import Plan
from celeriac.worker.orders import STOP
from celeriac.worker.relief import Relief
from celeriac.worker.slots import Slot


class Kin:
    """What is known of it beside its slot."""

    __slots__ = (
        "begun",
        "fenced",
        "index",
        "leaving",
        "lines",
        "overran",
        "pid",
        "plan",
        "ready",
        "relief",
        "slot",
        "terminated",
    )

    def __init__(self, pid: int, index: int, plan: Plan, slot: Slot, lines: Lines) -> None:
        self.pid = pid
        self.index = index
        self.plan = plan
        self.slot = slot
        #: The parent's ends of the two pipes.
        self.lines = lines
        self.relief = Relief(plan.owner, slot)
        self.ready = False
        #: It was told to end, and nobody takes its place.
        self.leaving = False
        #: The hard limit, in seconds, that it was killed for.
        self.overran: float | None = None
        #: The signal by which somebody wished the end of its task, when it was killed for that.
        self.terminated: int | None = None
        #: It ended because the store did not know it any more.
        self.fenced = False
        #: How far it had come when it died; None while it lives.
        self.begun: int | None = None

    def tell(self, word: bytes) -> None:
        """Say it, if it listens: it may have died just now, or not have listened for very long."""
        with contextlib.suppress(OSError):
            os.write(self.lines.down, word)

    def stop(self) -> None:
        """It begins nothing from now on, and ends when what it runs is done."""
        self.slot.say_enough()
        self.tell(STOP)

    def hear(self) -> bytes:
        """All that it has said since the last time."""
        said = b""
        while readable(self.lines.up, seconds=0.0):
            words = os.read(self.lines.up, 64)
            if not words:
                # It closed its end; its death comes as a signal. Do not poll a closed pipe until then.
                time.sleep(0.001)
                break
            said += words
        return said

    def strike(self, still: Callable[[], bool]) -> bool:
        """Stop it, look again, then kill it or let it go on: any other order could hit its next task. Whether
        it was killed."""
        originals.halt(self.pid)
        hit = still()
        if hit:
            os.kill(self.pid, signal.SIGKILL)
        os.kill(self.pid, signal.SIGCONT)
        return hit

    def bury(self) -> None:
        """It has died: note how far it came, and close what led to it."""
        self.begun = self.slot.begun
        for line in (self.lines.down, self.lines.up, self.lines.sheet):
            os.close(line)
