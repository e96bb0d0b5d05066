"""The app whose workers are killed: tasks that keep a ledger, and faults that kill a process at one line.

Nothing of celeriac knows of it. A fault is a file in the folder of faults, named after its place. The first
child that comes by removes it, stops its supervisor (so that the test can look where the message is), and
kills itself. Without the file the wrapped methods do what they always do.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from celeriac import Celery
from celeriac.drivers.redis import producer, scripts
from celeriac.drivers.redis.broker import RedisBroker
from celeriac.drivers.redis.connection import Connection
from celeriac.drivers.redis.turns import Turns
from celeriac.drivers.sqlite.broker import SqliteBroker
from celeriac.drivers.sqlite.store import Store
from celeriac.message import Claim, Fate
from celeriac.polling import readable
from celeriac.worker.intake import Intake
from celeriac.worker.slots import Slot

FOLDER = Path(os.environ["KILLED_FOLDER"])
LEDGER = FOLDER / "ledger"
#: The supervisor, or the one process of a solo worker.
IMPORTER = os.getpid()

app = Celery("killed_app")
app.conf.task_acks_late = os.environ.get("KILLED_ACKS") != "early"
app.conf.publish_timeout = 5.0


def note(word: str, event: str, deliveries: int = 0) -> None:
    """One line of the ledger, written in one piece."""
    line = f"{word} {event} {os.getpid()} {deliveries} {time.time()}\n"
    descriptor = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


# --- tasks ------------------------------------------------------------------------------------------------


@app.task(bind=True)
def work(self: Any, word: str, ballast: str = "") -> str:
    """Begins and ends; between them is a place to die at."""
    note(word, "begin", self.request.deliveries)
    fault(f"running {word}")
    note(word, "end", self.request.deliveries)
    return word


@app.task(bind=True)
def hold(self: Any, word: str) -> str:
    """Runs until the test opens its gate, or the gate of this process alone; then, if the test wants to hear
    of it, it tells how far it is."""
    note(word, "begin", self.request.deliveries)
    wait_for_file(FOLDER / f"gate {word}", FOLDER / f"gate {word} {os.getpid()}")
    if (FOLDER / "telling").exists():
        self.update_state(state="NEARLY", meta={"pid": os.getpid()})
    note(word, "end", self.request.deliveries)
    return word


@app.task(bind=True)
def poison(self: Any, word: str) -> str:
    """Kills its process, each time in another way, until somebody repairs it."""
    note(word, "begin", self.request.deliveries)
    if not (FOLDER / "repaired").exists():
        if self.request.deliveries == 0:
            os._exit(70)
        if self.request.deliveries == 1:
            ctypes.string_at(0)
        if not with_little_memory(lambda: ctypes.PyDLL(None).malloc(MUCH)):
            os.abort()  # as C++ does
    note(word, "end", self.request.deliveries)
    return word


@app.task(bind=True)
def gorge(self: Any, word: str) -> None:
    """Wants more memory than its process may have."""
    note(word, "begin", self.request.deliveries)
    with_little_memory(lambda: bytes(MUCH))


#: Bytes that nobody has who has little memory.
MUCH = 1 << 30


def with_little_memory(work: Callable[[], Any]) -> Any:
    """True work in a process that the system gives no more than it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MUCH // 2, before[1]))
    try:
        return work()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@app.task(bind=True)
def grip(self: Any, word: str, seconds: float) -> str:
    """Holds the GIL all the while, as a long call into C does."""
    note(word, "begin", self.request.deliveries)
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    note(word, "end", self.request.deliveries)
    return word


@app.task(bind=True)
def pour(self: Any, word: str) -> Iterator[str]:
    """Yields three parts, and has a place to die at behind the first."""
    note(word, "begin", self.request.deliveries)
    yield "one"
    fault(f"running {word}")
    yield "two"
    yield "three"
    note(word, "end", self.request.deliveries)


@app.task
def told(*_: Any) -> None:
    """The error callback."""
    note("told", "begin")


@app.task(bind=True)
def follow(self: Any, word: str) -> None:
    """What comes after a task that succeeded."""
    note(f"after-{word}", "begin", self.request.deliveries)


def wait_for_file(*paths: Path) -> None:
    """The task's own waiting; it ends with its process, or after a minute if the tests went away."""
    deadline = time.monotonic() + 60
    while not any(path.exists() for path in paths) and time.monotonic() < deadline:
        time.sleep(0.005)


# --- faults -----------------------------------------------------------------------------------------------


def armed(place: str) -> bool:
    return (FOLDER / f"fault {place}").exists()


def fault(place: str, *, supervisor: bool = False) -> None:
    """Die here if the test says so: a child, or (`supervisor`) the process that imported this, which may also
    be a producer."""
    if (os.getpid() == IMPORTER) is not supervisor:
        return
    try:
        (FOLDER / f"fault {place}").unlink()
    except FileNotFoundError:
        return
    note("fault", "died")
    if not supervisor:
        os.kill(os.getppid(), signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGKILL)


def wrap(owner: type, name: str, around: Callable[..., Any]) -> None:
    """`around(original, self, ...)` in the place of a method."""
    original = getattr(owner, name)

    def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
        return around(original, self, *arguments, **named)

    setattr(owner, name, wrapped)


#: Set when this child leaves the store for ever.
leaving = threading.Event()

#: Of this process: whether the next exchange with the store settles a task, and whether one is under way.
settling = False
turning = False
publishing = False


def _turn(original: Any, self: Intake, *arguments: Any, **named: Any) -> bool:
    global settling
    settling = any(outcome.fate is not Fate.BEGUN for outcome in self._outcomes)
    if settling:
        fault("before settling")
    answer: bool = original(self, *arguments, **named)
    return answer


def _take(original: Any, self: Intake) -> Claim | None:
    if self.waiting:
        fault("claimed")
    claim: Claim | None = original(self)
    return claim


def _done(original: Any, self: Intake, *arguments: Any) -> None:
    original(self, *arguments)
    fault("finished")


def _done_early(original: Any, self: Intake, number: int) -> bool:
    fault("before the mark")
    answer: bool = original(self, number)
    fault("marked")
    if armed("orphaned while marking"):
        os.kill(os.getppid(), signal.SIGKILL)
        leaving.wait(10)
    return answer


def _dismiss(original: Any, self: Any, owner: str) -> None:
    """Leaving takes a while here, so that what goes on beside it is seen."""
    if armed("orphaned while marking") and os.getpid() != IMPORTER:
        (FOLDER / "fault orphaned while marking").unlink()
        leaving.set()
        time.sleep(0.5)
    original(self, owner)


def _begin(original: Any, self: Slot, number: int) -> bool:
    may: bool = original(self, number)
    fault("begun")
    return may


def _exchange(original: Any, self: Any, *arguments: Any, **named: Any) -> Any:
    global turning, settling
    fault("before the turn")
    turning = True
    try:
        answer = original(self, *arguments, **named)
    finally:
        turning = False
    if settling:
        fault("settled")
    settling = False
    return answer


def after_the_script() -> str:
    return "settling, reply unread" if settling else "claiming, reply unread"


def _replies(
    original: Any, self: scripts.Script, connection: Connection, packed: bytes, count: int, told: list[Any]
) -> Any:
    if told and told[1]:
        # They came with the bell.
        fault("claiming, reply unread")
    elif turning and self is scripts.TURN and armed(after_the_script()):
        connection.send(packed)
        # The reply has come, so the script has run; nobody reads it.
        claims = b"killed_app" in waiting(connection)
        if settling or claims:
            fault(after_the_script())
        return [connection.read() for _ in range(count)]
    return original(self, connection, packed, count, told)


def waiting(connection: Connection) -> bytes:
    """The reply, which stays unread."""
    readable(connection.fileno(), seconds=10)
    with socket.socket(fileno=os.dup(connection.fileno())) as peeking:
        return peeking.recv(65536, socket.MSG_PEEK)


def _hear(original: Any, self: Any, connection: Connection) -> None:
    if publishing and armed("published, reply unread"):
        if waiting(connection).startswith(b"-NOSCRIPT"):
            connection.read()
            connection.call("SCRIPT", "LOAD", self.script.source)
            connection.send(self.packed)
            waiting(connection)
        fault("published, reply unread", supervisor=True)
    original(self, connection)


def _write(original: Any, self: Store, *arguments: Any) -> Any:
    answer = original(self, *arguments)
    if turning and (settling or answer.claims):
        fault(after_the_script())
    if publishing:
        fault("published, reply unread", supervisor=True)
    return answer


def _publish(original: Any, self: Any, *arguments: Any) -> None:
    global publishing
    fault("before publishing", supervisor=True)
    publishing = True
    original(self, *arguments)
    publishing = False


def _adopt(original: Any, self: Any, *arguments: Any) -> list[Claim]:
    claims: list[Claim] = original(self, *arguments)
    fault("adopted", supervisor=True)
    return claims


wrap(Intake, "turn", _turn)
wrap(Intake, "take", _take)
wrap(Intake, "done", _done)
wrap(Intake, "done_early", _done_early)
wrap(Slot, "begin", _begin)
wrap(Turns, "_exchange", _exchange)
wrap(SqliteBroker, "_turn", _exchange)
wrap(scripts.Script, "replies", _replies)
wrap(producer.Publish, "hear", _hear)
wrap(Store, "write", _write)
wrap(RedisBroker, "publish", _publish)
wrap(SqliteBroker, "publish", _publish)
wrap(RedisBroker, "dismiss", _dismiss)
wrap(SqliteBroker, "dismiss", _dismiss)
wrap(RedisBroker, "adopt", _adopt)
wrap(SqliteBroker, "adopt", _adopt)
