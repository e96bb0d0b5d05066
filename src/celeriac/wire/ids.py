"""Names that nobody else has: of tasks, of messages, and of the process that sends them."""

from __future__ import annotations

import os
import socket
import time
from functools import cache


def new_id() -> str:
    """A random UUID of version 4 as text, in a third of the time of uuid.uuid4()."""
    return id_of(os.urandom(15).hex())


def id_of(digits: str) -> str:
    """A UUID of version 4 made of 30 random digits."""
    # These are 120 random bits; the two that the variant leaves free are not worth a lookup.
    return f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-a{digits[15:18]}-{digits[18:30]}"


def new_tag(milliseconds: int | None = None) -> str:
    """A UUID of version 7: it begins with the milliseconds (of now), so a message tells its age."""
    time_digits = f"{time.time_ns() // 1_000_000 if milliseconds is None else milliseconds:012x}"
    digits = os.urandom(9).hex()
    return f"{time_digits[:8]}-{time_digits[8:]}-7{digits[:3]}-a{digits[3:6]}-{digits[6:]}"


@cache
def default_origin() -> str:
    """`gen<pid>@<host>`: Celery's name for a sender that is no worker."""
    return f"gen{os.getpid()}@{socket.gethostname()}"


os.register_at_fork(after_in_child=default_origin.cache_clear)
