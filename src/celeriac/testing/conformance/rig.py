"""The bench that every test of the suite stands on: children, watchers, threads and another process."""

from __future__ import annotations

import os
import pickle
import select
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

import msgspec
import pytest

from celeriac.message import Claim, Depth, Message, Outcome
from celeriac.ports import Broker, ResultStore

T = TypeVar("T")

#: Seconds in which a waiting turn or a watch hears of what happened; polling would have to be quicker.
PROMPT = 0.05
#: Seconds that end a test which waits in vain.
PATIENCE = 10.0
#: Seconds to let another thread begin to wait. The tests hold without it, they only test less.
A_MOMENT = 0.02
#: Seconds by which a store's clock may round an eta.
ROUNDING = 0.002

ODD_NAMES = [
    "with spaces",
    "ünïcödé 队列",
    "a:b::c",
    "*?[x]",
    'it\'s "quoted" `so`',
    "{tag}",
    "back\\slash/%s",
    "emoji 🥬",
    "; DROP TABLE x --",
]


class Child:
    """An owner on a connection of its own that claims and settles, as a worker's child does."""

    def __init__(self, broker: Broker, owner: str, node: str, lease: float, queues: Sequence[str]) -> None:
        self.broker = broker
        self.owner = owner
        broker.consume(queues)
        broker.enlist(owner, node, lease)

    def send(self, *messages: Message) -> None:
        self.broker.publish(messages)

    def turn(self, *outcomes: Outcome, want: int = 1, wait: float = 0.0) -> list[Claim]:
        return self.broker.turn(self.owner, outcomes, want, wait)

    def settle(self, *outcomes: Outcome) -> None:
        assert self.turn(*outcomes, want=0) == []

    def claim(self, want: int = 1, wait: float = 0.0) -> list[Claim]:
        return self.turn(want=want, wait=wait)

    def claim_all(self) -> list[Claim]:
        """Everything that is ready, in as many turns as that takes: one may give less than is wanted."""
        claims: list[Claim] = []
        while more := self.claim(want=1000):
            claims += more
        return claims

    def peek_names(self, queue: str = "celery", n: int = 100) -> list[str]:
        return [name_of(payload) for payload in self.broker.peek(queue, n)]

    def claim_names(self, want: int = 1, wait: float = 0.0) -> list[str]:
        return names(self.claim(want, wait))

    def depth(self, queue: str = "celery") -> Depth:
        return self.broker.depth([queue])[queue]


class Teller:
    """What a watch told, as a queue to wait on."""

    def __init__(self) -> None:
        self.heard: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
        self.threads: set[int] = set()

    def __call__(self, task_id: str, payload: bytes) -> None:
        self.threads.add(threading.get_ident())
        self.heard.put((task_id, payload))

    def next(self) -> tuple[str, bytes]:
        return self.heard.get(timeout=PATIENCE)

    def take(self, n: int) -> list[tuple[str, bytes]]:
        return [self.next() for _ in range(n)]

    def is_silent(self) -> bool:
        """Whether nothing more comes for a moment."""
        try:
            self.heard.get(timeout=A_MOMENT)
        except Empty:
            return True
        return False


class Opened:
    """The fixtures of both suites."""

    #: Whether no other process can open this driver's store.
    one_process = False
    #: Whether messages and results lie in one store.
    one_store = True

    @pytest.fixture
    def open_broker(self) -> Callable[[], Broker]:
        raise NotImplementedError("override the fixture open_broker: a function that opens a connection")

    @pytest.fixture
    def open_results(self) -> Callable[[], ResultStore]:
        raise NotImplementedError("override the fixture open_results: a function that opens a connection")

    @pytest.fixture
    def broker(self, open_broker: Callable[[], Broker]) -> Iterator[Broker]:
        broker = open_broker()
        yield broker
        broker.close()

    @pytest.fixture
    def results(self, open_results: Callable[[], ResultStore]) -> Iterator[ResultStore]:
        results = open_results()
        yield results
        results.close()

    @pytest.fixture
    def hire(self, open_broker: Callable[[], Broker]) -> Iterator[Callable[..., Child]]:
        """`hire("owner", node="node", queues=["celery"], lease=30.0)`: one more child, own broker."""
        with ExitStack() as opened:
            guarded: set[tuple[str, tuple[str, ...]]] = set()

            def hire(
                owner: str = "child",
                node: str = "node",
                queues: Sequence[str] = ("celery",),
                lease: float = 30.0,
            ) -> Child:
                broker = open_broker()
                opened.callback(broker.close)
                if (node, tuple(queues)) not in guarded:
                    guarded.add((node, tuple(queues)))
                    opened.enter_context(guard(open_broker, node, queues))
                return Child(broker, owner, node, lease, queues)

            yield hire

    @pytest.fixture
    def child(self, hire: Callable[..., Child]) -> Child:
        return hire()

    def need_another_process(self) -> None:
        if self.one_process:
            pytest.skip("this driver lives in one process")

    @pytest.fixture
    def threads(self) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(16) as pool:
            yield pool


def message(name: str, queue: str = "celery", priority: int = 0, eta: float | None = None) -> Message:
    return Message(name, queue, envelope(name), priority, eta)


def envelope(name: str) -> bytes:
    """A payload that tells its name: an object of JSON, where a driver may keep the count of deliveries."""
    return msgspec.json.encode({"name": name})


def name_of(payload: bytes) -> str:
    return cast(str, msgspec.json.decode(payload)["name"])


def names(claims: Iterable[Claim]) -> list[str]:
    return [name_of(claim.payload) for claim in claims]


def acks(claims: Iterable[Claim]) -> list[Outcome]:
    return [Outcome(claim.number) for claim in claims]


def all_of(futures: Iterable[Future[T]]) -> list[T]:
    return [future.result(PATIENCE) for future in list(futures)]


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


@contextmanager
def soon() -> Iterator[None]:
    """Long before who waits in vain gives up, however busy the machine is."""
    start = time.monotonic()
    try:
        yield
    finally:
        assert time.monotonic() - start < PATIENCE / 2


def assert_prompt(late: Sequence[float]) -> None:
    """Of several: the best on a machine that had time, and most on one that is busy with other things."""
    assert min(late) < PROMPT
    assert statistics.median(late) < 10 * PROMPT


@contextmanager
def no_less_than(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start > seconds - 0.01


@contextmanager
def guard(open_broker: Callable[[], Broker], node: str, queues: Sequence[str]) -> Iterator[None]:
    """Run the lookout of a node, if its broker has one, as the node's supervisor does."""
    broker = open_broker()
    broker.consume(queues)
    lookout = broker.lookout(node)
    if lookout is None:
        broker.close()
        yield
        return
    stopped, stop = os.pipe()

    def keep() -> None:
        ready: list[int] = []
        while stopped not in ready:
            pause = max(0.0, lookout.look())
            listening = lookout.fileno()
            watched = [stopped] if listening is None else [stopped, listening]
            ready = select.select(watched, [], [], pause)[0]

    with ThreadPoolExecutor(1) as thread:
        kept = thread.submit(keep)
        try:
            yield
        finally:
            os.write(stop, b"!")
            try:
                kept.result(PATIENCE)
            finally:
                lookout.close()
                broker.close()
                os.close(stop)
                os.close(stopped)


class Elsewhere:
    """A process that opened the same store and does one thing for each line it is told."""

    def __init__(self, opens: Callable[[], Any], program: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, pickle.dumps(opens).hex()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=environment,
        )
        assert self.hear() == "open"

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0


@contextmanager
def elsewhere(opens: Callable[[], object], program: str) -> Iterator[Elsewhere]:
    other = Elsewhere(opens, program)
    try:
        yield other
    except BaseException:
        other.process.kill()
        other.process.communicate()
        raise
    other.end()


_OPENS = """
import pickle, sys, time
from celeriac.message import Message, Result
store = pickle.loads(bytes.fromhex(sys.argv[1]))()
print("open", flush=True)
"""

# A little after the line was said, so that who said it waits when the message comes.
SENDS_EACH_LINE = (
    _OPENS
    + """
for line in sys.stdin:
    time.sleep(0.02)
    start = time.time()
    store.publish([Message(line.strip(), "celery", b'{"name":"%s"}' % line.strip().encode())])
    print(start, flush=True)
store.close()
"""
)

SAVES_EACH_LINE = (
    _OPENS
    + """
for line in sys.stdin:
    time.sleep(0.02)
    start = time.time()
    store.save([Result(line.strip(), line.strip().encode())])
    print(start, flush=True)
store.close()
"""
)
