"""Which topics of a bus somebody listens to, for drivers whose store does not know it itself."""

from __future__ import annotations


def matches(topic: str, wanted: str) -> bool:
    """Whether it is the one that is wanted; a `*` at the end of that stands for any rest."""
    return topic.startswith(wanted[:-1]) if wanted.endswith("*") else topic == wanted
