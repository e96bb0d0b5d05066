"""Where every thread of every child stands: asked for by SIGUSR1, written by C code into shared memory.

Python's own handlers wait until the task lets them; `faulthandler` writes at once, also while a task holds
the GIL. The supervisor gathers what was written and logs it. Coroutines and greenlets, of
which C knows nothing, each child tells by itself as soon as it can.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from importlib import import_module
from types import CoroutineType, FrameType, GeneratorType
from typing import Any

#: Asks a child; tasks use signals that have names.
ASK = signal.SIGRTMIN + 1
#: Seconds until a silent child is given up on, and for which a text must not have grown to be whole.
PATIENCE, QUIET = 3.0, 0.1

logger = logging.getLogger("celery.worker")


def listen(descriptor: int) -> None:
    """In a child: on ASK write the stacks of all threads to `descriptor`."""
    faulthandler.register(ASK, file=descriptor, all_threads=True, chain=False)


def open_sheet() -> int:
    """A descriptor for one child to write to."""
    return os.memfd_create("celeriac-stacks")


def tell_tasks() -> None:
    """In a child: log where its coroutines and greenlets stand."""
    text = "\n".join([*_coroutines(), *_greenlets()])
    if text:
        logger.warning("Coroutines and greenlets (pid %d):\n%s", os.getpid(), text)


def _coroutines() -> Iterator[str]:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return
    for found in gc.get_objects():  # of all loops, whoever made them
        if isinstance(found, asyncio.Task) and not found.done():
            frames = [(frame, frame.f_lineno) for frame in _frames(found.get_coro())]
            yield f"{found.get_name()}:\n{''.join(traceback.StackSummary.extract(iter(frames)).format())}"


def _frames(coroutine: Any) -> Iterator[FrameType]:
    """From the outermost to where it waits: a task's own stack is only its first frame."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield frame
        awaited = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
        coroutine = awaited if awaited is None or _has_frames(awaited) else _within(awaited)


def _has_frames(awaited: object) -> bool:
    return isinstance(awaited, CoroutineType | GeneratorType)


def _within(awaited: object) -> object:
    """The coroutine in an awaitable of our own, or in what `__await__` of a coroutine gives."""
    kind = type(awaited)
    if not kind.__module__.startswith("celeriac.") and kind.__name__ != "coroutine_wrapper":
        return None
    inner = gc.get_referents(awaited)
    coroutine = next((one for one in inner if isinstance(one, CoroutineType)), None)
    return coroutine or next(filter(None, map(_within, inner)), None)


def _greenlets() -> Iterator[str]:
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None:
        yield from import_module("gevent.util").format_run_info(thread_stacks=False)


def here() -> str:
    """The stacks of all threads of this process."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"Thread {names.get(ident, '?')} ({ident}):\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    )


class Inquiry:
    """One question to some children, and their answers as they come."""

    def __init__(self, asked: Iterable[tuple[str, int, int]]) -> None:
        """`asked`: (name, pid, descriptor) of each."""
        self._until = time.monotonic() + PATIENCE
        #: Descriptor -> (name, pid, length when last looked at).
        self._open: dict[int, tuple[str, int, int]] = {}
        for name, pid, descriptor in asked:
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            self._open[descriptor] = (name, pid, 0)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, ASK)

    def gather(self) -> bool:
        """Log the answers that are there; to be called every QUIET seconds as long as it returns True."""
        for descriptor, (name, pid, before) in list(self._open.items()):
            try:
                length = os.fstat(descriptor).st_size
            except OSError:  # the child has died and its sheet is closed
                del self._open[descriptor]
                continue
            if length and length == before:
                text = os.pread(descriptor, length, 0).decode(errors="replace")
                logger.warning("Stacks of %s (pid %d), the newest call first:\n%s", name, pid, text)
                del self._open[descriptor]
            elif not length and time.monotonic() >= self._until:
                logger.warning("%s (pid %d) does not answer: is it stopped?", name, pid)
                del self._open[descriptor]
            else:
                self._open[descriptor] = (name, pid, length)
        return bool(self._open)
