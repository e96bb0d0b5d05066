"""What a driver must do, one Protocol for each of its parts: broker, results, bus, schedules."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

from celeriac.message import Binding, Claim, Depth, Letter, Message, Outcome, Result
from celeriac.planned import Change, Plan, Tick


class Broker(Protocol):
    """Where messages wait, are claimed and settled.

    An owner holds claims; it belongs to a node, and the node has one lease. Every method is one atomic step
    in the store. An unreachable store raises `OperationalError` with its address and the cause, within the
    driver's time limits; nothing hangs. `publish`, `wake` and the operator's calls may be used from any
    thread; `turn` by one thread at a time. A broker is not carried over a fork: each process opens its own.
    """

    def publish(self, messages: Sequence[Message]) -> None:
        """Send, all in one step; a message with an eta waits as delayed. Stored exactly once, also when the
        connection breaks and the driver has to try again."""

    def publish_all(self, batches: Iterable[Sequence[Message]]) -> None:
        """`publish` for each batch; a driver may ask for the next one while the store takes in the one
        before."""

    def consume(self, queues: Sequence[str]) -> None:
        """Set the queues that `turn` claims from. Queues are served in turn, none starves."""

    def enlist(self, owner: str, node: str, lease: float) -> None:
        """Make a new owner known, and start its node's lease (seconds) if it has none."""

    def turn(self, owner: str, outcomes: Sequence[Outcome], want: int, wait: float = 0.0) -> list[Claim]:
        """Settle outcomes, then claim up to `want` messages, in one atomic step.

        An outcome settles fully (results, counts, follow-ups, fate) or, if its claim is not held any more,
        not at all.
        With nothing to claim and `want` > 0 it waits up to `wait` seconds and returns as soon as there is a
        claim, or with none after `wake()`. Raises `Fenced` if the owner is not known (any more): then nothing
        was accepted. After `OperationalError` call it again with the same outcomes, more may be appended:
        none settles twice and claims of an unanswered turn are returned by the next.
        """

    def wake(self) -> None:
        """End the present (or else the next) wait of `turn` early. For any thread and for signal handlers."""

    def beat(self, node: str, lease: float, living: Collection[str] = ()) -> list[str]:
        """Renew the node's lease; returns the owners of all nodes whose lease ran out, for `adopt`.

        With `living`, all owners of this node that live, those that do not are returned too: a store that
        lost its last moments may still know who has left.

        A node that is late itself, by two thirds of its lease since the last beat, is told of nobody, and the
        others get one more lease: the store may have been away from them all, and a restart of it must not
        double what runs.
        """

    def adopt(self, owner: str, by: str, node: str) -> list[Claim]:
        """Fence `owner` and put its claims under the new owner `by` of `node`; returns them in order of
        number. Numbers stay. Of several that try, one gets the claims; the others get none."""

    def dismiss(self, owner: str) -> None:
        """The owner leaves: what it still holds is given back, or is a dead letter if it had begun and was
        acknowledged early; then the owner is unknown."""

    def lookout(self, node: str, distrust: Callable[[], None] = ...) -> Lookout | None:
        """A lookout over the consumed queues, for stores whose producers or delays do not wake `turn` by
        themselves. It calls `distrust` when it finds that connections of this node are dead without having
        been told, so that the node's other brokers are told by `distrust` in their turn."""

    def distrust(self) -> None:
        """Speak over no connection that is open now: those that are in use break, and are made anew. From any
        thread."""

    def bind(self, bindings: Sequence[Binding], keep: float | None = None) -> None:
        """Make known which queues get what is sent to an exchange: for `keep` seconds, None is for good."""

    def bindings(self, exchange: str) -> list[Binding]:
        """All that were made known of this exchange and hold."""

    def announce(self, exchange: str, key: str, payload: bytes) -> None:
        """Say it to the listeners of a fanout exchange who are no queues of ours: stock Celery's workers on
        Redis. A store without such listeners does nothing."""

    def depth(self, queues: Sequence[str]) -> dict[str, Depth]:
        """Exact counts per queue."""

    def queues(self) -> list[str]:
        """The names of all queues that hold a message in any place, sorted."""

    def peek(self, queue: str, n: int) -> list[bytes]:
        """The first n payloads that would be claimed, next one first. Nothing is moved."""

    def payloads(self) -> Iterator[Sequence[bytes]]:
        """All that is delayed, ready or claimed, in this order and in parts, so that nobody is held up for
        long. What moves on meanwhile may come twice and is not missed; what moves back may be."""

    def firsts(self, queue: str) -> dict[int, bytes]:
        """The first payload of each priority step of which a message is ready. Nothing is moved."""

    def purge(self, queue: str) -> int:
        """Remove what is ready or delayed; returns how many. Nobody who waits for it hears of that."""

    def seize(self, queue: str, owner: str, most: int, *, every: bool = False) -> int:
        """Take up to `most` messages, ready or delayed, out of a queue, also a paused one: those after
        which nothing comes are removed (`counting.is_alone`), the others, or with `every` all of them,
        become claims of this owner, for `adopt`. Returns how many were taken in all. `Fenced` if the owner
        is not known."""

    def foreign_claims(self, *, put_back: bool = False) -> int:
        """How many messages stock Celery's workers hold in this store, for an ETA too, or left behind when
        they were killed. `put_back`: they go to the heads of their queues. In a store that has no such
        workers there are none."""

    def letters(self, n: int) -> list[Letter]:
        """Up to n dead letters, the newest first."""

    def replay(self, ids: Sequence[str]) -> int:
        """Put dead letters back to the tail of their queues with deliveries 0; returns how many."""

    def revoke(self, ids: Sequence[str], keep: float) -> list[str]:
        """Say that these tasks shall not begin any more. Who claims a message from now on finds its task in
        `revoked`: for `keep` seconds, which run only when the last message that is delayed now is due.
        Returns the ids of tasks that may have begun, because an owner holds a message of theirs (or, unless
        it shows its task's id, may hold one)."""

    @property
    def revoked(self) -> Container[str]:
        """The ids of revoked tasks, as they were when `turn` gave the last claims: to be asked of each of
        them before it begins, by the thread that calls `turn`. What `turn` could not look up, for no
        envelope shows it, `in` asks of the store."""

    def relieve(self, owner: str, above: int, upto: int) -> int:
        """Give back what the owner holds with numbers above `above`, up to `upto`; returns how many. For who
        knows that it will not begin them: it may only give them back or defer them itself, which settles
        nothing then."""

    def held(self, owner: str) -> list[Claim]:
        """What an owner holds, by number; for those who look on, it changes nothing."""

    def delayed(self, queue: str, n: int) -> list[tuple[float, bytes]]:
        """(eta, payload) of the first n messages that wait for their time, for those who look on."""

    def revokes(self, n: int) -> list[str]:
        """Ids of up to n revoked tasks, those first that are revoked for longest."""

    def pause(self, queue: str) -> None:
        """Nobody claims from this queue from now on, whoever serves it now or later, until `resume`."""

    def resume(self, queue: str) -> None:
        """It is served again, at once."""

    def paused(self) -> list[str]:
        """The queues that are paused, sorted."""

    def close(self) -> None:
        """Free everything; may be called twice. Claims stay with their owner."""


class Lookout(Protocol):
    """Wakes idle children for messages that come without waking anybody. A node runs it beside its lease."""

    def fileno(self) -> int | None:
        """What to poll for reading, None while there is nothing to poll."""

    def look(self) -> float:
        """Do what is due; returns the seconds until it wants to be called again, if nothing is readable
        before."""

    def close(self) -> None:
        """End it; may be called twice."""


class Watch(Protocol):
    """A standing wish to be told of results."""

    def add(self, ids: Sequence[str]) -> list[bytes | None]:
        """Watch these ids; returns what is stored already. From its return on no saved result is missed,
        also over a broken connection (what came meanwhile is told after it heals)."""

    def discard(self, ids: Sequence[str]) -> None:
        """Watch these ids no longer."""

    def close(self) -> None:
        """End it; may be called twice."""


class Ear(Protocol):
    """A watch for one thread, which reads it itself: `with` it, then `listen` once. Leaving it gives it back.

    It does not heal; who hears an OperationalError turns to a Watch.
    """

    def listen(self, ids: Sequence[str]) -> list[bytes | None]:
        """What is stored already. Whatever is saved from now on can be heard."""

    def hear(self, deadline: float) -> tuple[str, bytes] | None:
        """The id and payload of the next result; None at the deadline, in monotonic seconds."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class ResultStore(Protocol):
    """Where results wait for those who ask. Usable from any thread; not carried over a fork."""

    def save(self, results: Sequence[Result]) -> None:
        """Store and announce."""

    def update(self, result: Result, keep: Callable[[bytes], bool], owner: str = "") -> bool:
        """`save` for a state on the way, unless `keep` says of the end that is stored that it shall
        stay, or unless an owner is named whom the broker in this store does not know (any more): who is
        thought dead may still be talking. One step; says whether it was stored."""

    def load(self, ids: Sequence[str]) -> list[bytes | None]:
        """The stored payloads, None where there is none (never stored, expired or forgotten)."""

    def watch(self, told: Callable[[str, bytes], None]) -> Watch:
        """Call `told(task_id, payload)`, on a thread of the driver's own, for every result saved of a watched
        id."""

    def ear(self) -> Ear | None:
        """None while all are in use, and where the store has none."""

    def push(self, task_id: str, first: int, parts: Sequence[bytes], keep: int, ttl: float | None) -> None:
        """Add parts to the stream of a task, numbered from `first` on. A number that was pushed before stays
        what it is. The last `keep` parts are kept, all for `ttl` seconds from now; None is for ever. Where a
        result would lie under STREAM_MARK and the id there is the number of the last part, for watches too.
        """

    def parts(self, task_id: str, after: int, most: int) -> list[tuple[int, bytes]]:
        """Up to `most` parts with higher numbers than `after`, in order."""

    def forget(self, ids: Sequence[str]) -> None:
        """Remove them; with STREAM_MARK and an id, the stream."""

    def hurry(self, longest: float) -> None:
        """Wait for no reply longer than so many seconds from now on: who calls keeps a lease in the same
        thread. Watches and ears are not meant."""

    def close(self) -> None:
        """Free everything; may be called twice."""


class Bus(Protocol):
    """Where processes call out to whoever listens just now: remote control and events.

    A topic is a word, or two with a slash: `celery.pidbox`, `celeryev/worker.online`. Nothing is kept for who
    comes later. Usable from any thread; not carried over a fork. An unreachable store raises
    `OperationalError`; nothing hangs.
    """

    def say(self, topic: str, payload: bytes) -> int:
        """Tell all who listen to this topic; returns how many they are. After a connection that broke it may
        be told twice."""

    def listen(self, topics: Sequence[str]) -> Listening:
        """Hear from now on what is said under these topics. A `*` at the end of one stands for any rest."""

    def open_box(self, box: str) -> Listening:
        """A box for answers, open from now on until it is closed; its name is used once."""

    def answer(self, box: str, payload: bytes, keep: float) -> None:
        """Put an answer into a box, for at most `keep` seconds: its owner may be gone."""

    def hurry(self, longest: float) -> None:
        """Wait for no reply longer than so many seconds, in what is opened from now on: who calls keeps a
        lease in the same thread. Boxes are not meant."""

    def close(self) -> None:
        """Free everything; may be called twice. What listens on it must have been closed before."""


class Listening(Protocol):
    """Somebody's ear on a bus; for one thread."""

    def fileno(self) -> int | None:
        """What to poll for reading; None while there is nothing to poll: then call `hear` now and then."""

    def hear(self, wait: float = 0.0) -> list[tuple[str, bytes]]:
        """(topic or box, payload) of all that has come, in its order; waits up to `wait` seconds for the
        first. After OperationalError call it again: it makes itself known anew. What was said meanwhile is
        lost."""

    def close(self) -> None:
        """End it; may be called twice."""


class ScheduleStore(Protocol):
    """Where plans lie, beside the messages that come of them. For any thread; not carried over a fork.

    Any number of schedulers look; one of them leads, as long as it renews its lease. What makes each
    occurrence be sent once is not the lease but `write`: messages go out in the step that moves their plan.
    """

    def tick(self, scheduler: str, lease: float, now: int, most: int) -> Tick:
        """Become or stay the leader (for `lease` seconds), and see up to `most` plans that are due at `now`.
        Who does not lead sees none."""

    def write(self, changes: Sequence[Change], scheduler: str = "", term: int = 0) -> list[bool]:
        """Make each change whole, unless its plan was changed since it was read; says of each whether it was
        made. With a `scheduler` it must lead in this `term`: else `Fenced`, and nothing was done."""

    def remove(self, names: Sequence[str]) -> int:
        """Forget plans and their histories; returns how many there were."""

    def plans(self, names: Sequence[str] | None = None) -> list[Plan]:
        """These, or all; those that are there, by name."""

    def history(self, name: str, n: int) -> list[bytes]:
        """The last n notes, the newest first."""

    def leader(self) -> str:
        """Who leads; empty if nobody does."""

    def resign(self, scheduler: str) -> None:
        """Lead no more, so that another one may at once."""

    def close(self) -> None:
        """Free everything; may be called twice."""
