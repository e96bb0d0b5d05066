"""One of the schedulers: looks, leads if nobody else does, and sends what is due."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from celeriac.app import Celery
from celeriac.exceptions import CeleriacError, Fenced, OperationalError
from celeriac.message import Message
from celeriac.planned import Change, Plan, Tick
from celeriac.ports import ScheduleStore
from celeriac.schedules import judging
from celeriac.schedules.crontab import crontab
from celeriac.schedules.entry import DECLARED, Entry, entry_of, shown_spec
from celeriac.schedules.interval import schedule
from celeriac.schedules.keeping import (
    declared_entries,
    fresh_plan,
    message_of,
    note,
    still_running,
    told,
)
from celeriac.seeking import lost

#: Most plans of one tick: some 50 ms of work, so that the lease is renewed in time and a stop is heard.
MOST = 500
#: Seconds after which it looks again, whatever is planned: so soon a change is seen.
LOOK = 1.0
#: Seconds between two ticks that both send: what falls due meanwhile goes in one step.
PACE = 0.005
#: The part of the lease that the store is told; in the rest another one must notice.
TOLD = 0.85
#: Milliseconds until a plan that cannot even be read is looked at again.
UNREADABLE = 60_000
#: Seconds after which a task of which nothing was heard is sought, where results are kept for ever; and
#: among how many messages at most, so that a tick stays short.
FORGOTTEN, MOST_SOUGHT = 86_400.0, 10_000
#: How many decoded entries are kept at hand.
KNOWN = 4096

#: No name of an entry begins so.
ZONE_MARK = "\n"

SENDING = "Scheduler: Sending due task %s (%s)"
SENT = "%s sent. id->%s"

logger = logging.getLogger("celery.beat")


class Sending(msgspec.Struct):
    """What one plan comes to in this tick."""

    #: As it was read.
    plan: Plan
    entry: Entry
    change: Change
    occurrences: list[int]


class Scheduler:
    """Call `tick` when it says so. Many may run, also as threads and on other machines; one of them sends."""

    def __init__(
        self,
        app: Celery,
        store: ScheduleStore,
        name: str,
        lease: float,
        clock: Callable[[], float] | None = None,
        look: float = LOOK,
    ) -> None:
        self.app = app
        self.name = name
        self._store = store
        self._lease = lease
        self._clock = clock
        self._look = look
        #: Of the reign that began last; 0 while another one leads.
        self.term = 0
        self._declared: dict[str, Entry] = {}
        self._decoded: dict[tuple[str, str], Entry] = {}

    def tick(self) -> float:
        """Send what is due; returns the seconds until it wants to be called again. OperationalError if the
        store is away: then call it again soon."""
        try:
            return self._tick()
        except Fenced:
            logger.warning("beat: another scheduler took over; nothing of this tick was sent")
            self.term = 0
            return 0.0

    def _tick(self) -> float:
        found = self._look_for_due()
        if found.term != self.term:
            self._begin(found)
            if found.term:
                found = self._look_for_due()
        if not found.term:
            return min(self._look, self._lease * (1 - TOLD) / 2)
        moved = self._send(found) if found.plans else []
        upcoming = min((due for due in (found.upcoming, *moved) if due), default=0)
        pause = upcoming / 1000 - self.now() if upcoming else self._look
        return max(PACE if found.plans else 0.0, min(pause, self._look))

    def _look_for_due(self) -> Tick:
        return self._store.tick(self.name, self._lease * TOLD, _ms(self.now()), MOST)

    def now(self) -> float:
        return self._clock() if self._clock is not None else self.app.time()

    def resign(self) -> None:
        """Let another one lead at once."""
        if self.term:
            self.term = 0
            self._store.resign(self.name)

    # --- leading ------------------------------------------------------------------------------------------

    def _begin(self, found: Tick) -> None:
        self.term = 0
        if not found.term:
            logger.warning("beat: another scheduler leads now (%s)", self._store.leader() or "unknown")
            return
        self._declared = declared_entries(self.app)
        self._merge(found.term)
        # Only now: should the store fail in between, the next tick begins anew.
        self.term = found.term
        logger.info("beat: %s leads, %d entries in code", self.name, len(self._declared))

    def _merge(self, term: int) -> None:
        """Bring what code declares into the store: by name, and each keeps its state."""
        plans = {plan.name: plan for plan in self._store.plans([*self._declared, DECLARED])}
        list_of_names = plans.get(DECLARED, Plan(DECLARED, "[]"))
        before = msgspec.json.decode(list_of_names.spec, type=set[str])
        # Kept among the names: by whose wall clock the plans were made that name no zone of their own.
        zone = f"{ZONE_MARK}{self.app.timezone}"
        is_other_zone = zone not in before and any(name.startswith(ZONE_MARK) for name in before)
        changes = []
        for name, entry in self._declared.items():
            spec = shown_spec(entry)
            old = plans.get(name)
            plan = fresh_plan(self.app, entry, spec, old) if old is None or old.spec != spec else old
            if is_other_zone and entry.timezone is None and not is_elapsed_time(entry.schedule):
                occurrence = judging.first(entry, self.now(), self.app.timezone, plan.runs)
                plan = judging.planned(entry, plan, occurrence)
            if plan is not old:
                changes.append(Change(plan))
        names = msgspec.json.encode(sorted([*self._declared, zone])).decode()
        if names != list_of_names.spec:
            changes.append(Change(msgspec.structs.replace(list_of_names, spec=names)))
        if changes:
            self._store.write(changes, self.name, term)
        gone = self._store.plans(sorted(before - set(self._declared)))
        self._store.remove([plan.name for plan in gone if entry_of(plan.name, plan.spec).static])

    def _send(self, found: Tick) -> list[int]:
        """Returns when each of them is due next."""
        sendings = [self._judged(plan) for plan in found.plans]
        self._hold_back_overlaps(sendings)
        made = self._store.write([sending.change for sending in sendings], self.name, found.term)
        for sending, was_made in zip(sendings, made, strict=True):
            if was_made:
                self._say(sending)
        # One that was changed meanwhile may be due at once.
        return [
            sending.change.plan.due if was_made else sending.plan.due
            for sending, was_made in zip(sendings, made, strict=True)
        ]

    def _judged(self, plan: Plan) -> Sending:
        try:
            entry = self._entry(plan)
            zone = entry.zone(self.app.timezone)
            verdict = judging.judge(entry, plan, self.now(), zone, self._deadline(entry))
            return self._composed(entry, plan, verdict)
        except OperationalError:
            raise
        except Exception as error:
            # One entry that cannot be sent must hold up neither itself nor the others for ever.
            logger.error(
                "beat: %s is not sent, this occurrence is dropped: %s: %s",
                plan.name,
                type(error).__name__,
                error,
                exc_info=not isinstance(error, CeleriacError | TypeError),
            )
            return self._dropped(plan)

    def _composed(self, entry: Entry, plan: Plan, verdict: judging.Verdict) -> Sending:
        now = _ms(self.now())
        messages: list[Message] = []
        notes: list[bytes] = []
        if verdict.dropped:
            notes.append(note(plan.occurrence, now, "dropped"))
        for occurrence in verdict.send:
            message = message_of(self.app, entry, occurrence)
            messages.append(message)
            notes.append(note(occurrence, now, "sent", message.id))
        after = verdict.plan
        if messages:
            after = msgspec.structs.replace(
                after, runs=after.runs + len(messages), last=verdict.send[-1], last_id=messages[-1].id
            )
        return Sending(plan, entry, Change(after, tuple(messages), tuple(notes)), verdict.send)

    def _dropped(self, plan: Plan) -> Sending:
        """What cannot be sent is looked at again at its next occurrence, or in a minute."""
        now = _ms(self.now())
        again = now + UNREADABLE
        entry = Entry(name=plan.name, task="", schedule="")
        try:
            entry = self._entry(plan)
            zone = entry.zone(self.app.timezone)
            again = judging.following(entry, max(plan.occurrence, now), zone)
        except Exception:
            logger.debug("beat: %s cannot even be read", plan.name, exc_info=True)
        after = msgspec.structs.replace(plan, occurrence=again, due=again)
        return Sending(plan, entry, Change(after, (), (note(plan.occurrence, now, "failed"),)), [])

    def _hold_back_overlaps(self, sendings: list[Sending]) -> None:
        """Send nothing of entries that must not overlap, while their last task has not ended."""
        asked = {
            sending.plan.name: sending.plan.last_id
            for sending in sendings
            if not sending.entry.overlap and sending.change.messages and sending.plan.last_id
        }
        running = still_running(self.app, list(asked.values()))
        running -= self._gone([sending.plan for sending in sendings if sending.plan.last_id in running])
        for sending in sendings:
            last = asked.get(sending.plan.name)
            messages = sending.change.messages
            if last in running:
                self._hold_back(sending, last or "", 0)
            elif not sending.entry.overlap and len(messages) > 1:
                # Several at once would overlap each other: the last one stands for all.
                self._hold_back(sending, "", 1)

    def _gone(self, plans: list[Plan]) -> set[str]:
        """Of the last tasks of these plans, which nobody heard end, those that are no more: their results
        have expired, or their messages were purged."""
        keep = self.app.conf.seconds("result_expires") or FORGOTTEN
        old = {plan.last_id for plan in plans if self.now() - plan.last / 1000 > keep}
        if not old:
            return old
        broker = self.app.broker
        depths = broker.depth(broker.queues()).values()
        few = sum(depth.ready + depth.delayed + depth.claimed for depth in depths) <= MOST_SOUGHT
        return lost(self.app, old) if few else set()

    def _hold_back(self, sending: Sending, last: str, keep: int) -> None:
        change, now = sending.change, _ms(self.now())
        kept = change.messages[len(change.messages) - keep :]
        dropped = sending.occurrences[: len(sending.occurrences) - keep]
        plan, entry = change.plan, sending.entry
        runs = plan.runs - len(dropped)
        if not plan.occurrence and entry.max_runs is not None and runs < entry.max_runs:
            # It is not over: what was left out does not count.
            endless, zone = msgspec.structs.replace(entry, max_runs=None), entry.zone(self.app.timezone)
            verdict = judging.judge(endless, sending.plan, self.now(), zone)
            plan = judging.planned(entry, plan, verdict.plan.occurrence)
        notes = [note(one, now, "overlap", last) for one in dropped]
        notes += [
            note(one, now, "sent", message.id)
            for one, message in zip(sending.occurrences[len(dropped) :], kept, strict=True)
        ]
        sending.occurrences = sending.occurrences[len(dropped) :]
        sending.change = Change(
            msgspec.structs.replace(
                plan,
                runs=runs,
                last=plan.last if kept else sending.plan.last,
                last_id=kept[-1].id if kept else last,
            ),
            kept,
            tuple(notes),
        )
        logger.info(
            "beat: %s is left out: the last one has not ended (%s)", plan.name, last or "of this tick"
        )

    def _say(self, sending: Sending) -> None:
        for message in sending.change.messages:
            logger.info(SENDING, sending.entry.name, sending.entry.task)
            logger.debug(SENT, sending.entry.task, message.id)
            told(message)

    def _entry(self, plan: Plan) -> Entry:
        declared = self._declared.get(plan.name)
        if declared is not None:
            return declared
        key = (plan.name, plan.spec)
        entry = self._decoded.get(key)
        if entry is None:
            if len(self._decoded) >= KNOWN:
                self._decoded.clear()
            entry = self._decoded[key] = entry_of(plan.name, plan.spec)
        return entry

    def _deadline(self, entry: Entry) -> float | None:
        if not isinstance(entry.schedule, crontab):
            return None
        deadline: Any = self.app.conf.seconds("beat_cron_starting_deadline")
        return float(deadline) if deadline is not None else None


def is_elapsed_time(rule: object) -> bool:
    """An interval that knows no clocks on walls."""
    return isinstance(rule, schedule) and not rule.relative


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
