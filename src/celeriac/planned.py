"""The words of the scheduler's store: what is planned, what becomes of it, what a tick gives.

All moments here are epoch milliseconds, and 0 is none: so they are equal in every store and language.
"""

from __future__ import annotations

import time

import msgspec

from celeriac.message import Message

#: How many notes of its runs are kept for each plan.
HISTORY = 50


class Plan(msgspec.Struct, frozen=True):
    """A periodic call as a store keeps it. It opens neither `spec` nor what else is the scheduler's."""

    name: str
    #: What is called when, as JSON.
    spec: str
    #: The next occurrence: it has not been sent.
    occurrence: int = 0
    #: When to look at it; later than its occurrence where there is jitter, 0 while it is paused.
    due: int = 0
    #: Occurrences sent so far, the last of them, and the id of the task that was sent for it.
    runs: int = 0
    last: int = 0
    last_id: str = ""
    paused: bool = False
    #: Grows with every change. Who writes says which one was read; 0 is none.
    version: int = 0


class Change(msgspec.Struct, frozen=True):
    """A plan as it shall be, with all that must happen in the same step."""

    #: Its version is that which was read: if it is no longer so, nothing happens.
    plan: Plan
    #: Messages to send.
    messages: tuple[Message, ...] = ()
    #: For its history.
    notes: tuple[bytes, ...] = ()


class Tick(msgspec.Struct, frozen=True):
    """What a scheduler finds when it looks."""

    #: The number of its reign, larger than that of any before; 0 while another one leads.
    term: int
    #: What is due, the first one first.
    plans: list[Plan]
    #: When the next one after these is due.
    upcoming: int = 0


def changed(plan: Plan) -> Plan:
    """The plan as it is written: with its next version."""
    # The first one is by the clock: a plan that was removed and made again is never taken for the old one.
    version = plan.version + 1 if plan.version else time.time_ns() // 1_000_000
    return msgspec.structs.replace(plan, version=version)
