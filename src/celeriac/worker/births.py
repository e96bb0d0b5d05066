"""How children come to life: forked from the supervisor, or spawned as fresh interpreters."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from celeriac.worker import originals
from celeriac.worker.child import Plan
from celeriac.worker.options import WorkerOptions
from celeriac.worker.slots import Slots
from celeriac.worker.stacks import open_sheet

#: Where a spawned child finds its order.
ORDER = "CELERIAC_CHILD"
#: Descriptors that a parent keeps for what it opens later: the store, the bus, a log.
SPARE = 16


class Lines(msgspec.Struct, frozen=True):
    """A child's two pipes: down it hears orders (and the end of its parent), up it gives word. And the sheet
    on which its stacks are written."""

    down: int
    up: int
    sheet: int


def open_lines() -> tuple[Lines, Lines]:
    """The ends of a child that is to be born, and those of its parent."""
    opened: list[int] = []
    try:
        opened += os.pipe()
        opened += os.pipe()
        opened.append(open_sheet())
        _look_for_spare_ones(opened[-1])
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        raise
    down_reader, down_writer, up_reader, up_writer, sheet = opened
    # A child that never listens must not hold its parent up.
    os.set_blocking(down_writer, False)
    return Lines(down_reader, up_writer, sheet), Lines(down_writer, up_reader, sheet)


def _look_for_spare_ones(descriptor: int) -> None:
    """OSError if a parent would have too few left: without any it could not renew its lease."""
    spare: list[int] = []
    try:
        spare.extend(os.dup(descriptor) for _ in range(SPARE))
    finally:
        for one in spare:
            os.close(one)


class Order(msgspec.Struct, frozen=True):
    """All that a spawned child must know."""

    plan: Plan
    options: WorkerOptions
    index: int
    slots: int
    rooms: int
    descriptor: int
    limits: int
    meters: int | None
    totals: int
    lines: Lines


#: Lives the life of a child in a forked process: (plan, index, lines) -> exit code.
Body = Callable[[Plan, int, Lines], int]


def fork(body: Body, plan: Plan, index: int, lines: Lines, to_close: Sequence[int]) -> int:
    """Fork; the child runs `body` and never returns. Returns the pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = originals.fork()
    if pid:
        return pid
    code = 1
    try:
        for descriptor in to_close:
            os.close(descriptor)
        code = body(plan, index, lines)
    except BaseException:  # the last frame of this process: nothing may leave it
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            # Not sys.exit: what the parent registered for its own end must not happen here.
            os._exit(code)


def spawn(
    plan: Plan,
    options: WorkerOptions,
    index: int,
    lines: Lines,
    slots: Slots,
    limits: int,
    meters: int | None,
    totals: int,
) -> int:
    """Start a fresh interpreter; returns the pid."""
    # What was said of the app's own options may be of any type, and children have no use for it.
    plain = replace(options, own={})
    order = Order(
        plan, plain, index, slots.count, slots.rooms, slots.descriptor, limits, meters, totals, lines
    )
    environment = {**os.environ, ORDER: msgspec.json.encode(order).decode()}
    inherited = [slots.descriptor, limits, totals, lines.down, lines.up, lines.sheet]
    if meters is not None:
        inherited.append(meters)
    for descriptor in inherited:
        os.set_inheritable(descriptor, True)
    try:
        return originals.spawn(
            sys.executable,
            [sys.executable, "-m", "celeriac.worker.spawned"],
            environment,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        )
    finally:
        for descriptor in inherited:
            os.set_inheritable(descriptor, False)
