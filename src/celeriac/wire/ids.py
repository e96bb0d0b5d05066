"""Names that nobody else has: of tasks, of messages, and of the process that sends them."""

from __future__ import annotations

import os
import socket
import time
from functools import cache, lru_cache


def new_id() -> str:
    """A random UUID of version 4 as text, in a third of the time of uuid.uuid4()."""
    return id_of(os.urandom(15).hex())


def id_of(digits: str) -> str:
    """A UUID of version 4 made of 30 random digits."""
    # These are 120 random bits; the two that the variant leaves free are not worth a lookup.
    return f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-a{digits[15:18]}-{digits[18:30]}"


def id_of_member(group_id: str, number: int) -> str:
    """The id of a single task of a group, as far as it has no other: whoever knows the group knows it."""
    return f"{head_of_members(group_id)}{number:012x}"


@lru_cache(maxsize=64)
def head_of_members(group_id: str) -> str:
    """How the ids of all members begin: a UUID of version 8, whose last part is theirs."""
    # Only here: hashlib loads OpenSSL.
    from hashlib import blake2b

    digits = blake2b(group_id.encode(), digest_size=10).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-a{digits[17:]}-"


def may_be_of_member(id: str) -> bool:
    """It looks as `id_of_member` makes them."""
    return len(id) == 36 and id[14] == "8"


def is_storable(id: str) -> bool:
    """Whether a store can keep it: half of a surrogate pair, as in names of files that are no UTF-8, has no
    bytes."""
    try:
        return id.isascii() or bool(id.encode())
    except UnicodeEncodeError:
        return False


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
