"""From a claim to a job, or at once to its outcome where nothing must run, or not now, or not here.

    job = executor.prepare(claim)
    outcome = job if isinstance(job, Outcome) else job.run()

Pure: no socket is touched, and no clock but those passed in.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Container
from datetime import UTC, datetime
from typing import Any

from celeriac import signals
from celeriac.app import Celery
from celeriac.canvas.breaking import BREAK
from celeriac.exceptions import (
    ContentDisallowed,
    DecodeError,
    InvalidTaskError,
    NotRegistered,
    OperationalError,
    TaskRevokedError,
    WorkerLostError,
)
from celeriac.message import Claim, Fate, Outcome, Result
from celeriac.request import Request
from celeriac.revoking import stamps_as_ids
from celeriac.wire.codecs import read_by_workers
from celeriac.wire.compression import in_units
from celeriac.wire.saferepr import safe_repr
from celeriac.wire.task import TaskMessage, unpack
from celeriac.worker import loglines
from celeriac.worker.endings import Endings
from celeriac.worker.habits import Habits
from celeriac.worker.job import Job, Surroundings
from celeriac.worker.limits import Limits
from celeriac.worker.loglines import arrivals
from celeriac.worker.lost import death_note, killed_too_often, lost_error

__all__ = ["Executor", "Job"]

_refusals = logging.getLogger("celery.worker.consumer.consumer")

#: Seconds between two loud words about one unknown task name.
_PATIENCE = 60.0
#: Names and ids that are remembered; whoever floods us with new ones gets a word more, and no memory.
_MEMORY = 10_000


class Executor:
    """Turns claims into jobs, or at once into outcomes where nothing must run."""

    def __init__(
        self,
        app: Celery,
        hostname: str,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.perf_counter,
        save: Callable[[Result], object] | None = None,
        revoked: Container[str] = (),
        limits: Limits | None = None,
    ) -> None:
        self.hostname = hostname
        #: Epoch seconds: expiry, ETA, dates.
        self.now = now
        #: Ids of tasks that shall not run any more.
        self.revoked = revoked
        self._limits = limits
        self.endings = Endings(app, hostname, now)
        self._around = Surroundings(app, hostname, self.endings, clock, save)
        self._tasks = app.tasks
        self._habits: dict[str, Habits] = {}
        #: How many runs of each task have begun.
        self.counts: Counter[str] = Counter()
        self._conf = app.conf
        self._accept = read_by_workers(app.conf.accept_content)
        self._max_deliveries: int = app.conf.task_max_deliveries
        self._max_bytes: int = app.conf.task_max_bytes
        self._unknown_delay: float = app.conf.seconds("task_unknown_delay") or 0.0
        #: Unknown task name -> when it was told of.
        self._told: dict[str, float] = {}
        #: ETAs that were deferred once already.
        self._deferred: set[tuple[str, str]] = set()

    def prepare(self, claim: Claim) -> Job | Outcome:
        """A job to run; or the outcome of a claim that must not run, or not now, or not here."""
        try:
            return self._admit(claim)
        except OperationalError as error:
            _refusals.warning("A message of queue %r goes back: %s", claim.queue, error)
            return Outcome(claim.number, Fate.GIVEN_BACK)
        except Exception as error:
            # Bytes that break whoever looks at them must not come back to break the next worker too.
            _refusals.exception("A message of queue %r could not be looked at", claim.queue)
            return self.endings.bury(claim, f"internal error of the worker: {safe_repr(error)}")

    def _admit(self, claim: Claim) -> Job | Outcome:
        if len(claim.payload) > self._max_bytes:
            how_much = f"{in_units(len(claim.payload))} and task_max_bytes allows {in_units(self._max_bytes)}"
            return self._invalid(
                claim, None, DecodeError(f"the message was not looked at: it has {how_much}")
            )
        try:
            message = unpack(claim.payload, self._accept)
        except (DecodeError, ContentDisallowed) as error:
            return self._invalid(claim, None, error)
        if claim.begun:
            return self.endings.fail(claim, lost_error("it had begun and was acknowledged early"))
        if claim.deliveries and killed_too_often(claim.deliveries, self._max_deliveries):
            return self._killer(claim)
        # Before all that puts it off: it must not wait, for a date or its module, until the store forgets.
        if message.id in self.revoked or (message.stamped_headers and self._has_revoked_stamp(message)):
            if arrivals.isEnabledFor(logging.INFO):
                loglines.tell_arrival(message)
            return self._revoked(claim, message, "revoked")
        try:
            eta = None if message.eta is None else moment_of(message.eta)
            expires = None if message.expires is None else moment_of(message.expires)
        except (TypeError, ValueError) as error:
            return self._invalid(claim, message, InvalidTaskError(f"invalid eta or expires: {error}"))
        if eta is not None and self._is_early(message, eta):
            return Outcome(claim.number, Fate.DEFERRED, eta=eta)
        name = message.name
        task = self._tasks.get(name)
        if name == BREAK and task is None:
            return self._break(claim, message)
        if task is None:
            return self._unknown(claim, message)
        habits = self._habits.get(name)
        if habits is None or habits.task is not task or habits.since != (task._changes, self._conf.version):
            habits = self._habits[name] = Habits(task)
        expired = expires is not None and expires <= self.now()
        if habits.interval is not None and self._limits is not None and not expired:
            moment = self._limits.admit(name, habits.interval, self.now())
            if moment is not None:
                return Outcome(claim.number, Fate.DEFERRED, eta=moment)
        if arrivals.isEnabledFor(logging.INFO):
            loglines.tell_arrival(message)
        if expired:
            return self._revoked(claim, message, "expired")
        try:
            args, kwargs, embed = message.arguments(self._accept)
        except (DecodeError, ContentDisallowed) as error:
            return self._invalid(claim, message, error)
        self.counts[name] += 1
        made = Request.from_message(message, args, kwargs, embed, self.hostname, claim.deliveries)
        if habits.ignore_result and not made.ignore_result:
            made.ignore_result = _says_nothing_of_results(message)
        if signals.task_received.receivers:
            signals.task_received.send(self.hostname, request=made)
        return Job(self._around, claim, habits, made)

    def _has_revoked_stamp(self, message: TaskMessage) -> bool:
        return any(stamp in self.revoked for stamp in stamps_as_ids(message.stamps or {}))

    def _is_early(self, message: TaskMessage, eta: float) -> bool:
        """A message that waits belongs among the delayed ones of the store; a foreign producer does not know.

        Only once for each message: if it comes again the store says that it is due, and our clock is behind.
        """
        if eta <= self.now():
            return False
        seen = (message.id, message.eta or "")
        if seen in self._deferred:
            self._deferred.discard(seen)
            return False
        if len(self._deferred) >= _MEMORY:
            self._deferred.clear()
        self._deferred.add(seen)
        return True

    def _unknown(self, claim: Claim, message: TaskMessage) -> Outcome:
        """Another worker may know it, or this one after its next deployment: parked, and said aloud."""
        now = self.now()
        name = message.name
        if not 0 <= now - self._told.get(name, -_PATIENCE) < _PATIENCE:
            if len(self._told) >= _MEMORY:
                self._told.clear()
            self._told[name] = now
            _refusals.error(
                "Received unregistered task of type %r.\n"
                "Nothing is lost: message %s waits in queue %r and is offered again within %gs, here and to\n"
                "other workers, until one knows the task. Is the module that declares it imported (include,\n"
                "imports, -I), and under this very name? Sent by %s. Headers: %s",
                name,
                message.id,
                claim.queue,
                self._unknown_delay,
                message.origin,
                safe_repr(message.headers),
            )
        if signals.task_unknown.receivers:
            signals.task_unknown.send(
                self.hostname, message=message, exc=NotRegistered(name), name=name, id=message.id
            )
        # At different moments: what comes back in one bunch, one and the same worker takes again and again.
        return Outcome(claim.number, Fate.DEFERRED, eta=now + self._unknown_delay * random.uniform(0.5, 1.0))

    def _break(self, claim: Claim, message: TaskMessage) -> Outcome:
        """A chord whose header failed: its body ends here, without having begun."""
        try:
            (_, body, *_), kwargs, _ = message.arguments(self._accept)
            item = kwargs["failed"]
        except (DecodeError, ContentDisallowed) as error:
            return self._invalid(claim, message, error)
        except (KeyError, ValueError):
            # A stock worker polls like this for chords on stores that we do not know.
            return self._unknown(claim, message)
        return self.endings.chord_failed(claim, self.endings.request_of(claim, message), body, item)

    def _invalid(self, claim: Claim, message: TaskMessage | None, error: Exception) -> Outcome:
        _refusals.error(
            "Received invalid task message: %s\n"
            "It is kept as a dead letter (`celeriac dead list`). Queue %r, %d bytes, which begin with: %s",
            error,
            claim.queue,
            len(claim.payload),
            safe_repr(claim.payload, 256),
        )
        if signals.task_rejected.receivers:
            signals.task_rejected.send(self.hostname, message=message, exc=error)
        reason = f"{type(error).__name__}: {error}"
        return self.endings.fail(claim, error, reason)

    def _killer(self, claim: Claim) -> Outcome:
        error = WorkerLostError(death_note(claim.deliveries, claim.deaths))
        return self.endings.fail(claim, error, f"WorkerLostError: {error}")

    def _revoked(self, claim: Claim, message: TaskMessage, why: str) -> Outcome:
        """The task need not be known here."""
        loglines.tell_revoked(message.name, message.id)
        task = self._tasks.get(message.name)
        ended = self.endings.request_of(claim, message)
        if task is not None and task.ignore_result and not ended.ignore_result:
            ended.ignore_result = _says_nothing_of_results(message)
        if signals.task_revoked.receivers:
            signals.task_revoked.send(
                task, request=ended, terminated=False, signum=None, expired=why == "expired"
            )
        return self.endings.revoked(claim, ended, TaskRevokedError(why))


def _says_nothing_of_results(message: TaskMessage) -> bool:
    """Not `ignore_result=False` in the call, which wins over the task: its sender did not know the task."""
    return message.headers.get("ignore_result") is None


def moment_of(text: Any) -> float | None:
    """The epoch seconds of an eta or expires header; without a zone it is UTC, as the protocol says."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
