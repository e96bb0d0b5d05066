"""Whether something is to be read. Not by select, which takes no descriptor above 1023: a node of some 340
children has more."""

from __future__ import annotations

import select


def readable(*descriptors: int, seconds: float | None = None) -> bool:
    """Whether any of them has something to read (or has come to its end), after at most so many seconds."""
    # Under gevent it lets other greenlets run.
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
