"""An app for the tests of the worker: each task does one thing that can be seen from outside.

The stores come from the environment, as tests choose them. Tasks write what nobody may lose into files.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from celeriac import Celery
from celeriac.exceptions import Reject, SoftTimeLimitExceeded, WorkerShutdown
from celeriac.log import get_task_logger
from celeriac.panel import control_command, inspect_command

app = Celery("main", broker_connection_retry_on_startup=True, task_unknown_delay=0.5)
log = get_task_logger(__name__)


def write(path: str, line: str) -> None:
    """One line at the end of a file; whole, whoever else writes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


@app.task
def f(value: Any = None) -> Any:
    return value


@app.task
def parts(n: int) -> Iterator[int]:
    yield from range(n)
    return "all"


@app.task
async def aparts(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number


@app.task(send_events=False)
def unnoticed() -> None:
    pass


@app.task
async def af(value: Any = None) -> Any:
    await asyncio.sleep(0)
    return value


@app.task
def note(path: str, line: str) -> None:
    write(path, line)


@app.task
def where() -> tuple[int, int]:
    """(process, parent of the process)."""
    return os.getpid(), os.getppid()


@app.task
async def loop_of_child() -> tuple[int, int]:
    """(process, loop), the loop by a mark that is put onto it once."""
    loop: Any = asyncio.get_running_loop()
    loop.mark = getattr(loop, "mark", None) or time.monotonic_ns()
    return os.getpid(), loop.mark


# --- speaking


@app.task
def say(text: str) -> None:
    print(text)
    print(f"error {text}", file=sys.stderr)


@app.task
def log_line(text: str) -> None:
    log.info("%s", text)


# --- failing and trying again


@app.task(bind=True, max_retries=2, acks_late=True)
def second_time_lucky(self: Any, path: str, countdown: float) -> str:
    write(path, repr(time.time()))
    if self.request.retries == 0:
        raise self.retry(exc=ValueError("not yet"), countdown=countdown)
    return "lucky"


@app.task(autoretry_for=(ValueError,), max_retries=5, default_retry_delay=0.01)
def never_lucky(path: str) -> None:
    write(path, "tried")
    raise ValueError("never")


@app.task(autoretry_for=(ValueError,), max_retries=5, default_retry_delay=0.01)
async def never_lucky_async(path: str) -> None:
    write(path, "tried")
    raise ValueError("never")


@app.task
def fail(text: str) -> None:
    raise ValueError(text)


# --- taking long


@app.task
def wait_for(path: str, begun: str = "", seconds: float = 30.0) -> str:
    """Waits until a file is there, in small naps, as pure Python would."""
    if begun:
        write(begun, "begun")
    deadline = time.monotonic() + seconds
    while not Path(path).exists():
        if time.monotonic() > deadline:
            return "waited in vain"
        time.sleep(0.01)
    if begun:
        write(begun, "ended")
    return "seen"


@app.task(acks_late=False)
def wait_for_once(path: str, begun: str) -> str:
    return wait_for.run(path, begun)


@app.task
def shut_down() -> None:
    raise WorkerShutdown(7)


@app.task(acks_late=False)
def shut_down_early() -> None:
    raise WorkerShutdown(7)


@app.task
async def wait_for_async(path: str, begun: str = "", seconds: float = 30.0) -> str:
    if begun:
        write(begun, "begun")
    deadline = time.monotonic() + seconds
    while not Path(path).exists():  # noqa: ASYNC240 - a look that takes microseconds
        if time.monotonic() > deadline:
            return "waited in vain"
        await asyncio.sleep(0.01)
    if begun:
        write(begun, "ended")
    return "seen"


@app.task
def meet(folder: str, name: str, count: int) -> bool:
    """True if `count` of these run at the same moment."""
    (Path(folder) / name).touch()
    deadline = time.monotonic() + 15
    while sum(1 for _ in Path(folder).iterdir()) < count:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@app.task
def doze(seconds: float) -> None:
    time.sleep(seconds)


@app.task
async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)


@app.task
def soft(path: str) -> str:
    try:
        return wait_for.run(path)
    except SoftTimeLimitExceeded:
        return "cleaned up"


@app.task
async def soft_in_group(path: str) -> str:
    try:
        async with asyncio.TaskGroup() as group:
            member = group.create_task(wait_for_async.run(path))
    except SoftTimeLimitExceeded:
        return "cleaned up" if member.cancelled() else "its member goes on"
    return "waited in vain"


@app.task
async def soft_async(path: str) -> str:
    try:
        return await wait_for_async.run(path)
    except SoftTimeLimitExceeded:
        return "cleaned up"


_true_time = time.time


@app.task
def set_clock(seconds: float, nap: float = 0.0) -> int:
    """For this process the clock on the wall is so much later from now on."""
    time.time = lambda: _true_time() + seconds
    time.sleep(nap)
    return os.getpid()


@app.task
async def exit_within() -> None:
    """Awaits a coroutine that leaves."""

    async def leave() -> None:
        sys.exit(3)

    await asyncio.gather(leave(), asyncio.sleep(0))


@app.task
async def exit_behind() -> str:
    """Ends before a coroutine that it has started, which leaves."""

    async def leave() -> None:
        sys.exit(3)

    left.append(asyncio.ensure_future(leave()))
    return "through"


left: list[asyncio.Future[None]] = []


@app.task
def close_loop() -> bool:
    """As older code ends what it has begun with; only a child that has a task on its loop hands that out."""
    try:
        asyncio.get_event_loop().close()
    except RuntimeError:
        return False
    return True


@app.task
async def stop_loop() -> str:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    return "went on"


@app.task
async def cancel_all() -> None:
    """Cancels all that runs on its loop, itself too."""
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0)


@app.task(track_started=True)
def tracked(path: str) -> str:
    return wait_for.run(path)


@app.task(bind=True)
def progress(self: Any, path: str) -> str:
    self.update_state(state="PROGRESS", meta={"done": 3, "all": 9})
    return wait_for.run(path)


# --- results


@app.task(ignore_result=True)
def forgotten(path: str) -> str:
    write(path, "ran")
    return "nobody asks"


@app.task
def large(size: int) -> str:
    return "x" * size


@app.task
def size_of(text: str) -> int:
    return len(text)


@app.task
def unencodable() -> Any:
    return threading.Lock()


# --- starting processes


def square(number: int) -> int:
    return number * number


@app.task
def run_program() -> str:
    done = subprocess.run([sys.executable, "-c", "print('from outside')"], capture_output=True, check=True)
    return done.stdout.decode().strip()


@app.task
def run_processes(method: str) -> list[int]:
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(square, [1, 2, 3])


@app.task
def run_process(method: str) -> int | None:
    process = multiprocessing.get_context(method).Process(target=sys.exit, args=(7,))
    process.start()
    process.join(10)
    return process.exitcode


def wait_and_exit(path: str) -> None:
    wait_for.run(path)
    sys.exit(7)


@app.task
def run_process_until(path: str, begun: str) -> int | None:
    """A process that is forked from the worker and stays for a while, with naps in which greenlets go on."""
    process = multiprocessing.get_context("fork").Process(target=wait_and_exit, args=(path,))
    process.start()
    write(begun, "begun")
    process.join(30)
    return process.exitcode


def sleep_long(up: Any) -> None:
    up.set()
    time.sleep(30)


@app.task
def terminate_process(method: str) -> int | None:
    """A process that is asked to end does so, though forked from one that leaves that to its parent."""
    context = multiprocessing.get_context(method)
    up = context.Event()
    process = context.Process(target=sleep_long, args=(up,))
    process.start()
    up.wait(10)
    process.terminate()
    process.join(10)
    return process.exitcode


@app.task
def terminate_program() -> int:
    """A program that is asked to end does so: the child has not made it deaf."""
    process = subprocess.Popen([sys.executable, "-c", "print('up', flush=True); import time; time.sleep(30)"],
                               stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    with process, process.stdout:
        process.stdout.readline()
        process.terminate()
        return process.wait(10)


# --- dying


@app.task
def leave(code: int, path: str) -> None:
    """End the process, but only the first time."""
    if not Path(path).exists():
        write(path, "left")
        os._exit(code)


@app.task
def segfault(path: str) -> str:
    if Path(path).exists():
        return "survived"
    write(path, "fell")
    ctypes.string_at(0)
    return "impossible"


@app.task
def hold_gil(begun: str, seconds: int) -> None:
    """As a call into C that never lets go of the interpreter."""
    write(begun, "begun")
    ctypes.PyDLL(None).sleep(seconds)


@app.task
def kill_always() -> None:
    os._exit(9)


@app.task
def eat(mebibytes: int) -> int:
    """Keep memory for good; gives the process."""
    _eaten.append(bytearray(os.urandom(1024) * (mebibytes * 1024)))
    return os.getpid()


_eaten: list[bytearray] = []


# --- hostile


class Unpicklable(Exception):
    def __init__(self, _first: object, _second: object) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


class SilentError(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no str")

    __repr__ = __str__


class Liar(Exception):
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


class Circular(Exception):
    def __init__(self) -> None:
        super().__init__(self)
        self.__cause__ = self


HOSTILE: dict[str, Any] = {
    "unpicklable": lambda: Unpicklable(1, 2),
    "silent": SilentError,
    "mute": MuteError,
    "liar": Liar,
    "circular": Circular,
    "local": lambda: type("Local", (Exception,), {})("of nowhere"),
    "binary": lambda: Exception(b"\xff\xfe", object()),
    "surrogate": lambda: Exception("\udcff"),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "generator": GeneratorExit,
    "stop": StopIteration,
    "cancelled": asyncio.CancelledError,
    "base": lambda: BaseException("bare"),
    "group": lambda: ExceptionGroup("many", [ValueError(1), SilentError()]),
    "large": lambda: ValueError("y" * 3_000_000),
}


@app.task
def hostile(kind: str) -> None:
    error: BaseException = HOSTILE[kind]()
    raise error


@app.task
def refuse(why: str) -> None:
    raise Reject(why)


@app.task
async def hostile_async(kind: str) -> None:
    error: BaseException = HOSTILE[kind]()
    raise error


class Shy:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@app.task
def shy_result() -> Any:
    return Shy()


@app.task
def recurse() -> None:
    recurse.run()


# --- remote control of one's own


@inspect_command()
def who_am_i(state: Any, greeting: str = "I am") -> str:
    """Tells the name of the node."""
    return f"{greeting} {state.hostname}"


@control_command(args=[("path", str)], signature="<path>")
def leave_a_note(state: Any, path: str) -> None:
    """Writes a file."""
    write(path, f"from {state.hostname}")


@inspect_command()
def break_down(state: Any) -> None:
    raise ValueError("no such thing")


@app.task(bind=True)
def wants_to_go_on(self: Any, path: str, begun: str) -> None:
    """Runs until it is terminated, and tells what it was ended by."""
    write(begun, self.request.id)
    try:
        while True:
            time.sleep(0.01)
    except BaseException as error:
        write(path, type(error).__name__)
        raise
