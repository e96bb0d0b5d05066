"""The app that chaos is done to: tasks of many kinds, each with its lines in the ledger."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from celeriac import Celery
from chaos.hostile import HOSTILE
from chaos.ledger import note

FOLDER = Path(os.environ["CHAOS_FOLDER"])
LEDGER = FOLDER / "ledger"
GATE = FOLDER / "gate"

app = Celery("chaos_app")
app.conf.task_acks_late = os.environ.get("CHAOS_ACKS") != "early"
app.conf.task_unknown_delay = float(os.environ.get("CHAOS_UNKNOWN_DELAY", "5"))
app.conf.worker_soft_shutdown_timeout = float(os.environ.get("CHAOS_SOFT_SHUTDOWN", "0"))


@app.task(bind=True)
def work(self: Any, word: str, seconds: float = 0.0) -> str:
    """Begins, sleeps, ends."""
    note(LEDGER, word, "begin", self.request.deliveries)
    if seconds:
        time.sleep(seconds)
    note(LEDGER, word, "end")
    return word


@app.task(bind=True)
def held(self: Any, word: str) -> str:
    """Begins, and ends once the gate is open."""
    note(LEDGER, word, "begin", self.request.deliveries)
    while not GATE.exists():
        time.sleep(0.01)
    note(LEDGER, word, "end")
    return word


@app.task(bind=True)
async def awork(self: Any, word: str, seconds: float = 0.0) -> str:
    """The same as a coroutine."""
    note(LEDGER, word, "begin", self.request.deliveries)
    await asyncio.sleep(seconds)
    note(LEDGER, word, "end")
    return word


@app.task(bind=True)
def grip(self: Any, word: str, seconds: float) -> str:
    """Holds the GIL all the while, as a long call into C does."""
    note(LEDGER, word, "begin", self.request.deliveries)
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    note(LEDGER, word, "end")
    return word


@app.task(bind=True)
def heavy(self: Any, word: str, text: str) -> int:
    """Takes a large argument."""
    note(LEDGER, word, "begin", self.request.deliveries)
    note(LEDGER, word, "end")
    return len(text)


@app.task(bind=True)
def program(self: Any, word: str) -> str:
    """Starts a program and waits for it."""
    note(LEDGER, word, "begin", self.request.deliveries)
    said = subprocess.run([sys.executable, "-S", "-c", "print(42)"], capture_output=True, check=True)
    note(LEDGER, word, "end")
    return said.stdout.decode().strip()


def _double(connection: Any) -> None:
    connection.send(connection.recv() * 2)


@app.task(bind=True)
def family(self: Any, word: str) -> int:
    """Forks a process of its own with multiprocessing."""
    note(LEDGER, word, "begin", self.request.deliveries)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_double, args=(theirs,))
    process.start()
    ours.send(21)
    answer: int = ours.recv()
    process.join()
    note(LEDGER, word, "end")
    return answer


@app.task
def fail(number: int) -> None:
    """Raises the exception of that number, one more hostile than the other."""
    raise HOSTILE[number]()  # noqa: RSE102 - a class, made here


if os.environ.get("CHAOS_NEW_TASKS"):

    @app.task(bind=True)
    def newcomer(self: Any, word: str) -> str:
        """Known to the new release alone."""
        note(LEDGER, word, "begin", self.request.deliveries)
        note(LEDGER, word, "end")
        return word


if os.environ.get("CHAOS_CHATTER"):
    #: A thread that logs all the time, and so holds the locks of logging at the instant of most forks.
    chatter = logging.getLogger("chatter")

    def _chat() -> None:
        while True:
            chatter.warning("still here")
            time.sleep(0.0005)

    threading.Thread(target=_chat, name="chatter", daemon=True).start()
