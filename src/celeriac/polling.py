"""What is to be read. Not by select, which takes no descriptor above 1023: a node of some 340 children has
more."""

from __future__ import annotations

import select


def readable(*descriptors: int, seconds: float | None = None) -> list[int]:
    """Which of them have something to read (or have come to their end), after at most so many seconds."""
    # Under gevent it lets other greenlets run.
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [ready for ready, _ in poll.poll(None if seconds is None else max(0.0, seconds) * 1000)]
