"""How a task of a chord's header adds another one to it while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celeriac.canvas.publishing import send
from celeriac.canvas.signature import Call, Prepared, as_signature
from celeriac.request import Request


def add_to_chord(app: Any, request: Request, given: Any) -> Any:
    """Send this signature as one more member of the chord in whose header the request stands; its result."""
    if not request.chord or not request.group:
        raise ValueError("this task is no member of a chord's header, so nothing can be added to its chord")
    made = as_signature(given, app).clone()
    members = made.members()
    # Behind all that were there from the start, in the order of adding.
    size = int(request.chord.get("chord_size") or 1)
    place = size * (1 + request.added) + (request.group_index or 0)
    request.added += members
    made.freeze(None, group_id=request.group, chord=request.chord, root_id=request.root_id, group_index=place)
    prepared = made.prepare()
    return send(app, Prepared(_told(prepared.calls, request.group, members), prepared.result))


def _told(calls: Any, group: str, members: int) -> Iterator[Call]:
    """The first message says how many more there are, so the store knows it before they end."""
    for number, call in enumerate(calls):
        if number == 0:
            call.options["chord_adds"] = (group, members)
        yield call
