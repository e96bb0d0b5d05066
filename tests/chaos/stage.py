"""Where chaos plays: a store, a proxy before it, workers, a ledger, and the law that counts them all."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import psutil

from celeriac import AsyncResult, Celery
from celeriac.drivers.redis import scripts
from celeriac.drivers.redis.address import parse
from celeriac.drivers.redis.connection import Connection
from celeriac.drivers.redis.keys import SEPARATOR, Keys
from celeriac.exceptions import OperationalError
from celeriac.message import PRIORITY_STEPS, Depth
from chaos.ledger import Ledger
from proxy import Proxy
from services import Program, RedisServer, start_worker

#: Seconds after which a wait gives up; generous, for a loaded machine.
PATIENCE = 20.0
#: The one queue that the law counts; queues of the canaries are beside it.
QUEUE = "celery"
#: The priority of ordinary work, so that a canary (0) goes before it.
ORDINARY = 6


def until(true: Callable[[], Any], what: str, timeout: float = PATIENCE, pause: float = 0.01) -> Any:
    """Look again and again until it is true; gives what it was."""
    deadline = time.monotonic() + timeout
    while not (answer := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(pause)
    return answer


class Census(NamedTuple):
    """One atomic count of a queue, with the results that have come since the last one."""

    depth: Depth
    #: Task id -> its state.
    done: dict[str, str]


class Store(Protocol):
    """What holds the messages, and how it is counted."""

    #: As the harness reaches it, and as the workers do.
    url: str
    workers_url: str

    def census(self, *, harvest: bool = True) -> Census:
        """Count; with `harvest` the results found are removed, so that none is seen twice."""

    def holders(self) -> dict[str, int]:
        """How many claims (on Redis: batches of them) each owner has, for whoever looks into a failure."""

    def close(self) -> None: ...


class RedisStore:
    """A private redis-server that keeps what it acknowledged over a SIGKILL, behind a proxy."""

    #: Written to the kernel before each answer; only a crash of the machine would need `always`.
    DURABLE = ("--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0")

    def __init__(self, *options: str) -> None:
        self.server = RedisServer(*self.DURABLE, *options)
        self.server.start()
        self.proxy = Proxy(self.server.port)
        self.proxy.start()
        self.url = self.server.url
        self.workers_url = f"redis://127.0.0.1:{self.proxy.port}/0"
        # Longer than Redis is ever paused: what a census has taken away nobody would hear of.
        self._connection = Connection(parse(self.url), connect_timeout=5, timeout=120)
        self._calling = threading.Lock()
        self._keys = Keys()

    def census(self, *, harvest: bool = True) -> Census:
        suffixes = [f"{SEPARATOR}{step}" for step in PRIORITY_STEPS if step]
        names = scripts.names(self._keys)
        prefix = self._keys.result
        rows, found = self.call(
            "EVAL", _CENSUS, 2, f"{prefix}*", int(harvest), names, len(suffixes), *suffixes, QUEUE
        )
        pairs = zip(found[::2], found[1::2], strict=True)
        done = {key.decode()[len(prefix) :]: state_of(payload) for key, payload in pairs}
        return Census(Depth(*rows[0]), done)

    def holders(self) -> dict[str, int]:
        keys = self.call("KEYS", f"{self._keys.batches}*")
        owners = [key.decode()[len(self._keys.batches) :].rpartition(":")[0] for key in keys]
        return {owner: owners.count(owner) for owner in owners}

    def shortest_lease(self) -> float:
        """Seconds after which the first node is taken for dead, as it stands now."""
        ends = self.call("ZRANGE", self._keys.nodes, 0, 0, "WITHSCORES")
        return float(ends[1]) / 1000 - time.time() if ends else 0.0

    def call(self, *command: Any) -> Any:
        """One command, straight to the server; from any thread."""
        with self._calling:
            return self._connection.call(*command)

    def close(self) -> None:
        self._connection.close()
        self.proxy.stop()
        self.server.stop()


#: Depth and results in one script, so that nothing moves between the two.
_CENSUS = f"""
local rows = (function() {scripts.DEPTH.source} end)()
local found = {{}}
for _, key in ipairs(redis.call('KEYS', KEYS[1])) do
  found[#found + 1] = key
  found[#found + 1] = redis.call('GET', key)
  if KEYS[2] == '1' then redis.call('DEL', key) end
end
return {{rows, found}}
"""


class SqliteStore:
    """One file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "chaos.db"
        self.url = self.workers_url = f"sqlite:///{self.path}"

    def census(self, *, harvest: bool = True) -> Census:
        with contextlib.closing(sqlite3.connect(self.path, timeout=20, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE" if harvest else "BEGIN")
            counts = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _TABLES]
            found = db.execute("SELECT task, payload FROM result").fetchall()
            if harvest:
                db.execute("DELETE FROM result")
            messages = db.execute("SELECT count(*) FROM message").fetchone()[0]
            db.execute("COMMIT")
        assert messages == sum(counts), "each message lies in exactly one place"
        return Census(Depth(*counts), {task: state_of(payload) for task, payload in found})

    def holders(self) -> dict[str, int]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=20)) as db:
            claims = "owner o LEFT JOIN claim c ON c.owner = o.id"
            return dict(db.execute(f"SELECT o.name, count(c.message) FROM {claims} GROUP BY o.id").fetchall())

    def close(self) -> None:
        pass


_TABLES = ("ready", "delayed", "claim", "dead")


def state_of(payload: bytes) -> str:
    status: str = msgspec.json.decode(payload)["status"]
    return status


class Sample(NamedTuple):
    """One look at everything; seconds count from the beginning of the storm."""

    at: float
    sent: int
    done: int
    ready: int
    delayed: int
    claimed: int
    dead: int
    begun: int
    #: KiB and descriptors of all workers together.
    memory: int
    descriptors: int


class Stage:
    """One store with everything that is done to it. Close it."""

    def __init__(self, folder: Path, store: Store, acks: str = "late", lease: float = 30.0) -> None:
        self.folder = folder
        self.store = store
        self.acks = acks
        self.lease = lease
        self.ledger = Ledger(folder / "ledger")
        self.workers: list[Program] = []
        #: Held while what was sent or read is written down.
        self._lock = threading.RLock()
        #: Words of messages that the store has confirmed, and of those of which nobody knows.
        self.sent: set[str] = set()
        self.doubtful: set[str] = set()
        #: Epoch seconds at which the store confirmed them.
        self.sent_at: dict[str, float] = {}
        #: Words that were settled, as the results tell it.
        self.done: set[str] = set()
        #: Words whose message became a dead letter.
        self.failed: set[str] = set()
        #: With which arguments and environment each worker was started.
        self._orders: dict[Program, tuple[tuple[str, ...], dict[str, str]]] = {}
        self._apps: dict[str, Celery] = {}
        self._canaries = 0
        #: What the report draws.
        self.samples: list[Sample] = []

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            print(f"--- {' '.join(worker.command[1:])}\n{worker.output}")
        for app in self._apps.values():
            app.close()
        self.store.close()

    # --- sending

    def app(self, url: str | None = None) -> Celery:
        """An app that sends to this URL, by default straight to the store."""
        url = url or self.store.url
        if url not in self._apps:
            self._apps[url] = Celery("chaos", broker=url, backend=url, set_as_current=False)
        return self._apps[url]

    def send(self, word: str, *more: Any, task: str = "work", url: str | None = None,
             **options: Any) -> AsyncResult[Any]:  # fmt: skip
        """Send a task by its word, which is its id too; sent again under the same word it is one message."""
        with self._lock:
            self.doubtful.add(word)
        options = {"priority": ORDINARY, **options}
        result: AsyncResult[Any] = self.app(url).send_task(
            f"chaos_app.{task}", (word, *more), task_id=word, **options
        )
        with self._lock:
            self.sent.add(word)
            self.sent_at[word] = time.time()
            self.doubtful.discard(word)
        return result

    def send_surely(self, word: str, *more: Any, **options: Any) -> int:
        """As `send`, until it is stored; gives how often it had to be tried."""
        for tries in range(1, 100):
            with contextlib.suppress(OperationalError):
                self.send(word, *more, **options)
                return tries
            time.sleep(0.05)
        raise AssertionError(f"{word} could not be sent")

    def open_gate(self) -> None:
        """The tasks `held` may end."""
        (self.folder / "gate").touch()

    # --- workers

    def start_worker(
        self, *arguments: str, ready: bool = True, url: str | None = None, **env: str
    ) -> Program:
        """A worker on the queue of all and on a queue of its own, for canaries."""
        name = f"w{len(self.workers) + 1}"
        worker = start_worker(
            "chaos_app",
            self.folder,
            *("-l", "info", "-n", f"{name}@here", "-Q", f"{QUEUE},{name}", *arguments),
            *("--lease", str(self.lease)),
            env={
                "CELERY_BROKER_URL": url or self.store.workers_url,
                "CELERY_RESULT_BACKEND": url or self.store.workers_url,
                "CHAOS_FOLDER": str(self.folder),
                "CHAOS_ACKS": self.acks,
                "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{Path(__file__).parent.parent}",
                **env,
            },
        )
        self.workers.append(worker)
        self._orders[worker] = (arguments, env)
        if ready:
            worker.wait_for_line(r" ready\.")
        return worker

    def replace(self, worker: Program) -> Program:
        """Another one with the same orders, as whoever runs services would start."""
        arguments, env = self._orders[worker]
        return self.start_worker(*arguments, **env)

    def own_queue(self, worker: Program) -> str:
        return f"w{self.workers.index(worker) + 1}"

    def children(self, worker: Program) -> list[int]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(worker.pid).children()]
        return []

    def consumers(self, worker: Program) -> list[int]:
        """The processes of a worker that run tasks."""
        return self.children(worker) or [worker.pid]

    def everyone_consumes(self, since: float, limit: float) -> float:
        """Send canaries to each worker's own queue until every process has begun one; gives how many seconds
        after `since` (epoch) the last of them did."""
        living = [worker for worker in self.workers if worker.running]
        deadline = since + limit
        while True:
            missing = [
                (worker, pid)
                for worker in living
                for pid in self.consumers(worker)
                if self.ledger.last_begin.get(pid, 0.0) < since
            ]
            if not missing:
                pids = [pid for worker in living for pid in self.consumers(worker)]
                return max(self.ledger.last_begin[pid] for pid in pids) - since
            if time.time() > deadline:
                names = [f"{self.own_queue(worker)} pid {pid}" for worker, pid in missing]
                raise AssertionError(f"not consuming {limit:g} s after the fault: {', '.join(names)}")
            for worker, _ in missing:
                with contextlib.suppress(OperationalError):
                    self.canary(worker)
            time.sleep(0.05)
            self.read_ledger()

    def canary(self, worker: Program) -> None:
        """Sing: a task for one worker alone, which the law does not count."""
        self._canaries += 1
        word = f"canary-{self._canaries}"
        self.app().send_task(
            "chaos_app.work", (word, 0.04), task_id=word, queue=self.own_queue(worker), ignore_result=True
        )

    def read_ledger(self) -> None:
        with self._lock:
            self.ledger.read()

    # --- the law

    def check_the_law(self) -> Census:
        """done + ready + delayed + claimed + dead = sent, whatever is going on."""
        before = len(self.sent)
        census = self.store.census()
        with self._lock:
            after = len(self.sent) + len(self.doubtful)
            self._count(census, before, after)
        return census

    def _count(self, census: Census, before: int, after: int) -> None:
        new = {word for word, state in census.done.items() if self.acks == "early" or state == "SUCCESS"}
        twice = new & self.done
        assert not twice, f"settled twice: {sorted(twice)[:5]}"
        self.done |= new
        # A dead letter has a result too, and is counted where it lies.
        self.failed |= census.done.keys() - new
        depth = census.depth
        counted = len(self.done) + depth.ready + depth.delayed + depth.claimed + depth.dead
        law = f"done {len(self.done)} + {depth} = {counted}, sent {before} to {after}"
        assert before <= counted <= after, law
        self.ledger.read()
        # What was acknowledged early may have died between its mark and its first line: then it is FAILURE.
        unseen = [word for word in new if census.done[word] == "SUCCESS" and not self.ledger.begins[word]]
        assert not unseen, f"settled without a line in the ledger: {unseen[:5]}"

    def wait_until_done(self, timeout: float) -> None:
        """Until nothing is ready, delayed or claimed, with the law checked at each look."""

        left = Depth()

        def quiet() -> bool:
            nonlocal left
            with contextlib.suppress(OperationalError):  # it was restarted a moment ago
                left = self.check_the_law().depth
                return not (left.ready or left.delayed or left.claimed)
            return False

        try:
            until(quiet, "all messages are done", timeout, pause=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}: {left}; held by {self.store.holders()}") from None

    def check_all_ran(self) -> None:
        """Nothing is missing, by the results and, where it must run at least once, by the ledger."""
        assert self.done >= self.sent, f"no result: {sorted(self.sent - self.done)[:5]}"
        missing = [word for word in self.sent if not self.ledger.ends[word]]
        assert not missing or self.acks == "early", f"{len(missing)} never ended: {missing[:5]}"

    def reruns(self) -> int:
        """Executions that were not the first of their message."""
        return sum(self.ledger.begins[word] - 1 for word in self.sent if self.ledger.begins[word])


#: Opens a stage for a test: ("redis", options of redis-server ..., lease=2.0).
Opened = Callable[..., Stage]


def kill(*pids: int, number: int = signal.SIGKILL) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def group(worker: Program) -> Sequence[int]:
    """The worker and its children."""
    return [worker.pid, *(child.pid for child in psutil.Process(worker.pid).children(recursive=True))]


@contextlib.contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """SIGSTOP, taken hold of; then SIGCONT."""
    kill(*pids, number=signal.SIGSTOP)
    for pid in pids:
        until(lambda pid=pid: psutil.Process(pid).status() == psutil.STATUS_STOPPED, f"{pid} stops")  # type: ignore[misc]
    try:
        yield
    finally:
        kill(*pids, number=signal.SIGCONT)
