"""What all children share: an owner in the store, a slot, a beginning and an orderly end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec.structs import replace

from celeriac.exceptions import OperationalError, WorkerShutdown, WorkerTerminate
from celeriac.message import Claim, Fate, Outcome, Result
from celeriac.ports import Broker
from celeriac.worker.execute import Executor, Job
from celeriac.worker.intake import Intake
from celeriac.worker.slots import Slot, State

#: Seconds that one wait for messages lasts; it only bounds how long a child trusts that it will be woken.
WAIT = 300.0
#: Seconds that finished outcomes may stay unsettled, and unbegun claims unmoved, while a task runs (law 7).
PATIENCE = 0.005
#: Seconds that a stopping child tries to bring its outcomes to a store that is away.
LAST_TRIES = 5.0

logger = logging.getLogger("celery.worker.consumer")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is to be; plain values, so that it can be sent to a spawned process."""

    node: str
    owner: str
    hostname: str
    queues: tuple[str, ...]
    lease: float
    pool: str
    rooms: int
    max_tasks: int | None = None
    #: KiB.
    max_memory: int | None = None
    #: Tell monitors of its tasks from the first one on.
    events: bool = False


class Child(Protocol):
    """A complete worker of one process."""

    def run(self) -> None:
        """Work until stopped; raises Fenced if the node's lease was lost to others."""

    def stop(self) -> None:
        """Begin nothing more; what runs is finished, what has not begun goes back now. From any thread."""

    def strike(self, number: int) -> None:
        """End the task of this claim by an error raised in it, if it still runs."""

    def abandon(self) -> None:
        """Return everything at once, also what runs: the process is about to end."""


class ColdStop(WorkerTerminate):
    """Raised in the main thread of a process without a supervisor by the signal that ends it at once."""


class Life:
    """The parts of a child that do not depend on its rooms."""

    def __init__(
        self,
        plan: Plan,
        broker: Broker,
        tell: Callable[[Result], object] | None,
        executor: Callable[[Callable[[Result], None] | None], Executor],
        slot: Slot,
        *,
        judge: Callable[[list[Claim], int, str], list[Outcome]],
        ready: Callable[[], None] = lambda: None,
        limits_in_use: Callable[[], None] = lambda: None,
        note: Callable[[], None] = lambda: None,
    ) -> None:
        #: Writes down for those who look on how many runs of each task have begun; seldom.
        self.note = note
        self.plan = plan
        self.slot = slot
        self.broker = broker
        self.executor = executor(self._save if tell is not None else None)
        self.intake = Intake(broker, plan.owner, lost=self._say_lost, found=self._say_found)
        self.stopping = False
        #: All is being returned on another thread, and the process ends with that.
        self._abandoned = False
        self.retiring = False
        self._entered = False
        #: Numbers of what runs and was acknowledged early.
        self._marked: set[int] = set()
        self._tell = tell
        self._judge = judge
        self._ready = ready
        self._limits_in_use = limits_in_use
        self._said_limits = False
        self._said_lost = False

    def enter(self) -> None:
        """Become known to the store; waits for it as long as it takes."""
        self.broker.consume(self.plan.queues)
        tries = 0
        while not self.stopping:
            try:
                self.broker.enlist(self.plan.owner, self.plan.node, self.plan.lease)
                self._entered = True
                self.slot.state = State.READY
                self._ready()
                return
            except OperationalError as error:
                self._say_lost(error)
                time.sleep(min(1.0, 0.1 * 2 ** min(tries, 4)))
                tries += 1

    def goes_on(self) -> bool:
        """Whether it may begin something more."""
        if self.slot.enough:
            self.stopping = True
        return not self.stopping

    def leave(self) -> None:
        """Settle everything and be forgotten by the store."""
        self.intake.give_back()
        deadline = time.monotonic() + LAST_TRIES
        try:
            while self._entered and not self.intake.turn():
                if time.monotonic() > deadline:
                    logger.error(
                        "The store is away: %d outcomes could not be settled, their messages run again",
                        self.intake.unsettled,
                    )
                    return
                time.sleep(PATIENCE)
            self.broker.dismiss(self.plan.owner)
        except OperationalError as error:
            self._say_lost(error)
        finally:
            self.slot.state = State.RETIRING if self.retiring else State.STOPPED
            self.broker.close()

    def abandon(self, held: list[Claim]) -> None:
        """Return `held`, of which all up to the slot's number have begun, and what waits."""
        self._abandoned = True
        self.intake.give_back()
        for outcome in self._judged(held, self.slot.begun, "its parent is gone"):
            self.intake.done(outcome)
        self.intake.turn()
        self.broker.dismiss(self.plan.owner)

    def wished(self, claim: Claim, wish: WorkerShutdown | WorkerTerminate) -> Outcome:
        """What becomes of a task that wished its worker to end, which counts as a death; this process ends
        when the rest of what runs is done."""
        self.retire(f"a task raised {type(wish).__name__}")
        if isinstance(wish, ColdStop) and claim.number not in self._marked:
            return Outcome(claim.number, Fate.GIVEN_BACK)
        how = (
            "it was told to stop" if isinstance(wish, ColdStop) else f"the task raised {type(wish).__name__}"
        )
        (outcome,) = self._judged([claim], claim.number, how)
        return outcome

    def _judged(self, held: list[Claim], begun: int, how: str) -> list[Outcome]:
        known = [replace(claim, begun=True) if claim.number in self._marked else claim for claim in held]
        return self._judge(known, begun, how)

    def prepared(self, claim: Claim) -> Job | None:
        """A job that is ready to run, or None where the claim is settled without running."""
        job = self.executor.prepare(claim)
        if isinstance(job, Outcome):
            given_away = 0 < self.slot.barred <= claim.number
            self.intake.done(Outcome(claim.number, Fate.GIVEN_BACK) if given_away else job)
            return None
        if job.early_ack:
            # What is marked in the store never runs again, so the mark must be there before the task begins.
            marked = self.intake.done_early(claim.number)
            while not marked:
                if self.stopping:
                    self.intake.done(Outcome(claim.number, Fate.GIVEN_BACK))
                    return None
                time.sleep(PATIENCE)
                marked = self.intake.turn()
            self._marked.add(claim.number)
            # Who returns it saw either this mark, and then it has failed; or not, and then it goes back
            # and must not begin here too.
            while self._abandoned:
                time.sleep(WAIT)
        soft, hard = job.time_limits
        if (soft or hard) and not self._said_limits:
            self._said_limits = True
            self._limits_in_use()
        return job

    def finished(self, outcome: Outcome) -> None:
        """Count it; enough is enough for a child with a limited life."""
        self.intake.done(outcome)
        self.slot.finish()
        if self._marked:
            self._marked.discard(outcome.number)
        plan = self.plan
        if plan.max_tasks is not None and self.slot.done >= plan.max_tasks:
            self.retire(f"it has run its {plan.max_tasks} tasks")
        elif plan.max_memory is not None and resident_kib() > plan.max_memory:
            self.retire(f"it uses more than {plan.max_memory} KiB")

    def retire(self, why: str) -> None:
        """End by one's own wish."""
        if not self.retiring:
            logger.debug("Child %s ends: %s", self.plan.owner, why)
            self.retiring = self.stopping = True

    def _save(self, result: Result) -> None:
        if self._tell is not None:
            try:
                self._tell(result)
            except OperationalError as error:
                self._say_lost(error)

    def _say_lost(self, error: OperationalError) -> None:
        if not self._said_lost:
            self._said_lost = True
            logger.error(
                "consumer: Connection to broker lost (%s). Trying to re-establish the connection...", error
            )

    def _say_found(self) -> None:
        self._said_lost = False
        logger.warning("consumer: Connection to broker is back.")


def resident_kib() -> int:
    """Resident memory of this process in KiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4
