"""What a broker knows of revoked tasks: all about those of its last claims, and of others it asks the store.

A store that opens no envelope looks a claimed task up by the id that its envelope shows as plain text. That
may be missing (the old protocol, an odd id) or the id of something else, so it only saves questions: what a
task's true id is knows the one who unpacks the message, and asks for that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

#: The value of the first member named "id" that is written without escapes.
_VALUE = re.compile(rb' ?"([^"\\]+)"')


class Revoked:
    """See `celeriac.ports.Broker.revoked`."""

    def __init__(self, ask: Callable[[str], bool]) -> None:
        self._ask = ask
        #: By id, whether it is revoked; None if nothing at all is.
        self._known: Mapping[Any, bool] | None = {}

    def learn(self, known: Mapping[str, bool] | None) -> None:
        """What was found with the last claims."""
        self._known = known

    def __contains__(self, id: object) -> bool:
        known = self._known
        if known is None:
            return False
        answer = known.get(id)
        return self._ask(str(id)) if answer is None else answer


def shown_id(payload: bytes) -> str | None:
    """The id of the task as its envelope shows it."""
    at = payload.find(b'"id":')
    value = _VALUE.match(payload, at + 5) if at >= 0 else None
    return value[1].decode("utf-8", "replace") if value else None
