"""What of a plan is sent now, and when it comes next: pure, the moment is passed in."""

from __future__ import annotations

import zlib
from datetime import datetime, tzinfo
from typing import NamedTuple

import msgspec

from celeriac.planned import Plan
from celeriac.schedules.base import BaseSchedule
from celeriac.schedules.crontab import crontab
from celeriac.schedules.entry import Entry, epoch_of
from celeriac.schedules.interval import schedule
from celeriac.schedules.moment import once
from celeriac.schedules.sun import solar

#: Occurrences of one entry that one tick sends; the next tick goes on.
MOST = 500
#: Seconds by which an occurrence may be late without having been missed (catch_up="none"): a little longer
#: than another scheduler needs to take over.
MISSED = 30.0


class Verdict(NamedTuple):
    """What becomes of a plan."""

    #: Occurrences to send now.
    send: list[int]
    #: How many were dropped, because they were missed.
    dropped: int
    plan: Plan


def first(entry: Entry, now: float, zone: tzinfo, runs: int = 0) -> int:
    """The first occurrence of an entry that came so often, epoch milliseconds; 0 if there is none."""
    if entry.max_runs is not None and runs >= entry.max_runs:
        return 0
    start = None if entry.start is None else epoch_of(entry.start, zone)
    rule = entry.schedule
    if is_asked(rule):
        return _ended(entry, now if start is None else max(now, start), zone)
    if start is not None and type(rule) is schedule and not rule.relative:
        # Its steps are counted from the start.
        return _ended(entry, start if start > now else rule.latest(start, now) + rule.seconds, zone)
    return following(entry, _ms(now if start is None else max(now, start - 0.001)), zone)


def following(entry: Entry, occurrence: int, zone: tzinfo) -> int:
    """The next occurrence after one, 0 if there is none."""
    return _ended(entry, entry.schedule.next_after(occurrence / 1000, zone), zone)


def due_of(entry: Entry, occurrence: int) -> int:
    """When it is sent: later by the entry's jitter, which is the same whoever computes it."""
    if not entry.jitter or not occurrence:
        return occurrence
    part = zlib.crc32(f"{entry.name}@{occurrence}".encode()) / 2**32
    return occurrence + int(entry.jitter * 1000 * part)


def planned(entry: Entry, plan: Plan, occurrence: int) -> Plan:
    """The plan with this occurrence next."""
    due = 0 if plan.paused else due_of(entry, occurrence)
    return msgspec.structs.replace(plan, occurrence=occurrence, due=due)


def judge(entry: Entry, plan: Plan, now: float, zone: tzinfo, deadline: float | None = None) -> Verdict:
    """Of a plan that is due at `now`: what to send, and the plan after that. Nothing of it is done yet."""
    if is_asked(entry.schedule):
        return _ask(entry, plan, now, zone)
    missed = _missed(entry, plan, now, zone)
    limit = entry.deadline if entry.deadline is not None else deadline
    if limit is None and entry.catch_up == "none":
        limit = MISSED
    send = [one for one in missed if limit is None or now * 1000 - due_of(entry, one) <= limit * 1000]
    dropped = len(missed) - len(send)
    upcoming = following(entry, missed[-1], zone)
    if entry.max_runs is not None:
        send = send[: max(0, entry.max_runs - plan.runs)]
        if plan.runs + len(send) >= entry.max_runs:
            upcoming = 0
    return Verdict(send, dropped, planned(entry, plan, upcoming))


def _missed(entry: Entry, plan: Plan, now: float, zone: tzinfo) -> list[int]:
    """Those that are up to now: all of them, or the last one."""
    if entry.catch_up == "all":
        missed = [plan.occurrence]
        while len(missed) < MOST:
            one = following(entry, missed[-1], zone)
            if not one or due_of(entry, one) > now * 1000:
                break
            missed.append(one)
        return missed
    oldest = plan.occurrence / 1000
    # By so much later may be what came after it, so only what is older has certainly been missed.
    until = max(oldest, now - entry.jitter)
    if entry.end is not None:
        until = max(oldest, min(until, epoch_of(entry.end, zone)))
    return [_ms(entry.schedule.latest(oldest, until, zone))]


def _ended(entry: Entry, moment: float | None, zone: tzinfo) -> int:
    if moment is None or (entry.end is not None and moment > epoch_of(entry.end, zone)):
        return 0
    return _ms(moment)


# --- schedules that want to be asked ----------------------------------------------------------------------


def is_asked(rule: object) -> bool:
    """Whether it overrides `is_due`, as schedules written for Celery do, and not `next_after`."""
    if type(rule) in (crontab, schedule, once, solar):
        return False
    for kind in type(rule).__mro__:
        if kind is BaseSchedule:
            return False
        if "next_after" in vars(kind):
            return False
        if "is_due" in vars(kind) or "remaining_estimate" in vars(kind):
            return True
    return True


def _ask(entry: Entry, plan: Plan, now: float, zone: tzinfo) -> Verdict:
    """Such a schedule says itself whether it is due, and when to ask again."""
    rule = entry.schedule
    if not plan.last:
        # What never ran counts from when it was first asked, as with Celery: from each time on it would never
        # be due.
        plan = msgspec.structs.replace(plan, last=_ms(now))
    is_due, pause = rule.is_due(datetime.fromtimestamp(plan.last / 1000, rule.now().tzinfo))
    again = _ended(entry, now + max(0.0, min(pause, 86400.0 * 366)), zone)
    again = again and max(again, plan.occurrence + 1)
    if is_due and entry.max_runs is not None and plan.runs + 1 >= entry.max_runs:
        again = 0
    return Verdict([plan.occurrence] if is_due else [], 0, planned(entry, plan, again))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
