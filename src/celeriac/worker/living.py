"""The process of a child with a parent, from its first line to its last."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import threading

from celeriac import signals
from celeriac.exceptions import Fenced, WorkerShutdown, WorkerTerminate
from celeriac.polling import readable
from celeriac.worker import originals, stacks, telemetry
from celeriac.worker.births import Lines
from celeriac.worker.child import Child, Plan
from celeriac.worker.household import Household
from celeriac.worker.making import make_child, make_life
from celeriac.worker.options import WorkerOptions
from celeriac.worker.orders import Obedience
from celeriac.worker.telling import Telling

#: What a child says upward.
READY, LIMITS = b"R", b"L"

#: Exit codes: lost its node's lease to others; its parent is gone.
FENCED, ORPHANED = 3, 4

logger = logging.getLogger("celery.worker")


def live(household: Household, plan: Plan, index: int, lines: Lines) -> int:
    """The whole life of a child; returns its exit code."""
    slot = household.slots.slot(index)
    slot.pid = os.getpid()
    stacks.listen(lines.sheet)
    _leave_signals_to_the_parent()
    household.logging.enter_child(process_name(plan, index, household.options), index + 1)
    if household.meters is not None:
        household.meters.listen(index)
    life = make_life(
        household,
        plan,
        slot,
        index=index,
        ready=lambda: _write(lines.up, READY),
        limits_in_use=lambda: _write(lines.up, LIMITS),
    )
    child = make_child(life)
    telling = Telling(household.app, plan.hostname, os.getppid(), slot)
    if plan.events:
        telling.turn(True)
    obedience = Obedience(household.app, child, life, telling.turn)
    threading.Thread(
        target=_hear, args=(lines.down, child, obedience), name="celeriac-parent", daemon=True
    ).start()
    if signals.worker_process_init.receivers:
        signals.worker_process_init.send(plan.hostname)
    # What the parent made is shared with it page by page: collecting it would copy them all.
    gc.freeze()
    code = 0
    try:
        child.run()
    except Fenced:
        logger.error(
            "The store does not know this child any more (the lease of its node ran out and others took "
            "over, or the store was emptied or lost its last moments): outcomes of %s are refused, it "
            "starts anew",
            plan.owner,
        )
        code = FENCED
    except (WorkerShutdown, WorkerTerminate) as wish:
        with contextlib.suppress(Fenced):
            life.leave()
        code = wish.code if isinstance(wish.code, int) else 0
    finally:
        if signals.worker_process_shutdown.receivers:
            signals.worker_process_shutdown.send(plan.hostname, pid=os.getpid(), exitcode=code)
        telemetry.hand_over()
        life.note()
        telling.turn(False)
        logging.shutdown()
    return code


def process_name(plan: Plan, index: int, options: WorkerOptions) -> str:
    """As operators know it: the one process of a threads or gevent pool is the main one for them."""
    alone = plan.pool != "prefork" and (options.processes or 1) == 1
    kind = "SpawnPoolWorker" if options.start_method == "spawn" else "ForkPoolWorker"
    return "MainProcess" if alone else f"{kind}-{index + 1}"


def _leave_signals_to_the_parent() -> None:
    """Ctrl-C reaches the whole process group; the parent decides what it means.

    Handlers that do nothing, and not SIG_IGN: that would be inherited by the programs that tasks start.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
        originals.handle_here(number, lambda *_: None)
    originals.handle(signal.SIGCHLD, signal.SIG_DFL)
    originals.handle(signal.SIGALRM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)


def _hear(down: int, child: Child, obedience: Obedience) -> None:
    """Listen to the parent's words, on a thread of its own."""
    heard, ours = b"", os.getpid()
    while True:
        readable(down)  # under gevent os.read would stop all greenlets
        if os.getpid() != ours:
            return  # a task forked, and this is the copy of a greenlet: the words are not for it
        try:
            part = os.read(down, 65536)
        except OSError:
            part = b""
        if not part:
            break
        *words, heard = (heard + part).split(b"\n")
        for word in words:
            obedience.obey(word)
    # Nobody renews our lease any more. Return all and end, before others run what we hold.
    with contextlib.suppress(Exception):
        child.abandon()
    sys.stderr.write("worker: the supervisor is gone, this child returned its messages and ends\n")
    os._exit(ORPHANED)


def _write(descriptor: int, word: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, word)
