"""A storm: steady load and one fault after the other, while the law is checked at each sample."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psutil

from celeriac.exceptions import OperationalError
from chaos.faults import PROCESSES, Fault, Inflict
from chaos.ledger import Span
from chaos.life import Life
from chaos.stage import Sample, Stage, group
from services import Program

#: Seconds between two samples.
EVERY = 0.5
#: Seconds after a fault within which every process must consume again: the promise, and what the short storms
#: of `make test` ask of a machine that runs four tests at a time.
BACK, BACK_WHEN_BUSY = 5.0, 15.0


class Told(NamedTuple):
    """A fault as the report tells it; seconds count from the beginning of the storm."""

    name: str
    began: float
    healed: float
    #: Seconds from healing until every process had begun a task again; None: not looked at.
    back: float | None


#: Sends one more message: (stage, number, dice).
Send = Callable[[Stage, int, random.Random], None]


def send_work(stage: Stage, number: int, dice: random.Random) -> None:
    """A plain task, over the proxy, so that publishing meets the faults too."""
    stage.send_surely(f"t{number}", url=stage.store.workers_url)


def send_a_mix(stage: Stage, number: int, dice: random.Random) -> None:
    """Plain tasks, slow ones, coroutines, delayed ones."""
    word, url = f"t{number}", stage.store.workers_url
    kind = dice.random()
    if kind < 0.80:
        stage.send_surely(word, url=url)
    elif kind < 0.88:
        stage.send_surely(word, dice.uniform(0.01, 0.2), url=url)
    elif kind < 0.94:
        stage.send_surely(word, 0.05, task="awork", url=url)
    else:
        stage.send_surely(word, url=url, countdown=dice.uniform(0.5, 8.0))


def send_anything(stage: Stage, number: int, dice: random.Random) -> None:
    """Tasks that start programs and processes of their own, coroutines, a few arguments of 8 MB."""
    word, kind = f"t{number}", dice.random()
    if kind < 0.7:
        stage.send_surely(word)
    elif kind < 0.98:
        stage.send_surely(word, task=dice.choice(("awork", "program", "family")))
    else:
        stage.send_surely(word, "x" * 8_000_000, task="heavy")


class Storm:
    """Begin it, inflict faults, and end it. Everything that it decides comes from the seed."""

    def __init__(self, stage: Stage, seed: int, *, rate: float = 200.0,
                 most: int | None = None, send: Send = send_work,
                 ahead: float = math.inf, back: float = BACK) -> None:  # fmt: skip
        self.stage = stage
        self.dice = random.Random(seed)
        self.faults: list[Told] = []
        #: When the work of processes that died or became zombies may run a second time.
        self.hit: dict[Life, list[Span]] = defaultdict(list)
        self._rate = rate
        self._most = most
        self._send = send
        #: The producer waits while so many are ready and nobody has taken them.
        self._ahead = ahead
        self._back = back
        self._producer_dice = random.Random(seed + 1)
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._began = time.time()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._produce, self._sample)
        ]

    def begin(self) -> None:
        self._began = time.time()
        for thread in self._threads:
            thread.start()

    def inflict(self, inflict: Inflict) -> Fault:
        """One fault. After each that is no mere death of a process, all must consume soon."""
        self.check()
        fault = inflict(self.stage, self.dice)
        for life in fault.dead:
            self.hit[life].append((fault.began, math.inf))
        for life in fault.zombies:
            # It lives on, and what it begins later is its own; within a lease it has noticed.
            self.hit[life].append((fault.began, fault.healed + self.stage.lease))
        back = None
        if inflict not in PROCESSES and not fault.zombies:
            back = self.stage.everyone_consumes(fault.healed, self._back)
        began, healed = fault.began - self._began, fault.healed - self._began
        self.faults.append(Told(fault.name, began, healed, back))
        return fault

    def run(self, faults: Sequence[Inflict], pause: tuple[float, float]) -> None:
        """One fault after the other, in this order, with pauses between."""
        for inflict in faults:
            time.sleep(self.dice.uniform(*pause))
            self.inflict(inflict)

    def run_while(
        self, goes_on: Callable[[], bool], choice: Sequence[Inflict], pause: tuple[float, float]
    ) -> None:
        """Random faults, and the last of them has healed when it returns."""
        while goes_on():
            self.run([self.dice.choice(choice)], pause)

    def end(self, timeout: float = 60.0) -> None:
        """The load ends, all of it is done, and nothing is missing or doubled beyond what faults explain."""
        if self._most is not None:
            self._threads[0].join(timeout)
        self._over.set()
        for thread in self._threads:
            thread.join(timeout)
        self.check()
        self.stage.wait_until_done(timeout)
        self._look()
        self.stage.check_all_ran()
        hit = {} if self.stage.acks == "early" else self.hit
        unexplained = list(self.stage.ledger.unexplained(hit))
        assert not unexplained, f"second runs, and nobody had died: {unexplained[:5]}"

    def longest_stall(self) -> float:
        """The longest time in which no task began while some were waiting, in seconds."""
        begins = sorted(one.time for one in self.stage.ledger.entries if one.event == "begin")
        return max((after - before for before, after in itertools.pairwise(begins)), default=0.0)

    def usual_wait(self) -> float:
        """Seconds within which 99 of 100 tasks began after they were sent."""
        begins: dict[str, float] = {}
        for one in self.stage.ledger.entries:
            if one.event == "begin":
                begins.setdefault(one.word, one.time)
        sent = self.stage.sent_at
        waits = sorted(begins[word] - at for word, at in sent.items() if word in begins)
        return waits[len(waits) * 99 // 100] if waits else 0.0

    def check(self) -> None:
        """Raise what went wrong in the background."""
        if self._error is not None:
            raise AssertionError(f"{self._error}") from self._error

    # --- in the background

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = self._error or error
            self._over.set()

    def _produce(self) -> None:
        number = 0
        while not self._over.is_set() and (self._most is None or number < self._most):
            if self.stage.samples and self.stage.samples[-1].ready > self._ahead:
                self._over.wait(0.05)
                continue
            for _ in range(max(1, int(self._rate / 20))):
                if self._most is None or number < self._most:
                    number += 1
                    self._send(self.stage, number, self._producer_dice)
            self._over.wait(0.05)

    def _sample(self) -> None:
        while not self._over.wait(EVERY):
            # The store may be away now; then the law waits.
            with contextlib.suppress(OperationalError):
                self._look()

    def _look(self) -> None:
        stage = self.stage
        depth = stage.check_the_law().depth
        memory, descriptors = resources(stage.workers)
        stage.samples.append(
            Sample(
                time.time() - self._began,
                len(stage.sent),
                len(stage.done),
                depth.ready,
                depth.delayed,
                depth.claimed,
                depth.dead,
                sum(stage.ledger.begins.values()),
                memory,
                descriptors,
            )
        )


def resources(workers: Sequence[Program]) -> tuple[int, int]:
    """KiB that belong to them alone, and open descriptors, of workers and their children."""
    memory = descriptors = 0
    for worker in workers:
        if not worker.running:
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            for pid in group(worker):
                with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    process = psutil.Process(pid)
                    memory += process.memory_full_info().uss // 1024
                    descriptors += process.num_fds()
    return memory, descriptors
