"""Warns of a Redis that throws away what it was given when its memory is full."""

from __future__ import annotations

import logging
import re

from celeriac.drivers.redis.connection import Connection, ServerError

_POLICY = re.compile(rb"^maxmemory_policy:(\S+)", re.MULTILINE)

logger = logging.getLogger(__name__)


def warn_of_eviction(connection: Connection) -> None:
    """Say so once, where the policy is an evicting one; a Redis that does not tell is trusted."""
    try:
        found = _POLICY.search(connection.call("INFO", "memory"))
    except ServerError:
        return
    policy = found[1].decode() if found else "noeviction"
    if policy == "noeviction":
        return
    # Messages never have a TTL, results and numbers of publishes do.
    lost = "results" if policy.startswith("volatile") else "messages and results"
    logger.warning(
        "Redis at %s has maxmemory-policy %s: when its memory is full it throws %s away. "
        "Set it to noeviction; then producers are told, and workers go on",
        connection.address,
        policy,
        lost,
    )
