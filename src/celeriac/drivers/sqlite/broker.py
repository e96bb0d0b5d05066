"""The broker of a file: each call is one transaction, and a turn without work sleeps until its bell rings."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

import msgspec

from celeriac.drivers.counting import Headers
from celeriac.drivers.revoked import Revoked
from celeriac.drivers.sqlite import bench, chords, exchanges, moves, revokes
from celeriac.drivers.sqlite import statements as sql
from celeriac.drivers.sqlite.bells import Alarm, ring
from celeriac.drivers.sqlite.moves import Fresh
from celeriac.drivers.sqlite.results import ring_watchers, save_results, sweep
from celeriac.drivers.sqlite.session import Session
from celeriac.exceptions import Fenced, OperationalError
from celeriac.message import Binding, Claim, Depth, Fate, Letter, Message, Outcome

T = TypeVar("T")

#: Seconds after which a wait looks by itself: the net under a process that was killed between commit and
#: bell, and under a wall clock set forward.
LONGEST_PAUSE = 5.0
#: Messages that one transaction reads at most for who looks through all of them.
READ_AT_ONCE = 500


class Turned(msgspec.Struct):
    """What one transaction of a turn gave."""

    claims: list[Claim]
    #: Which of their tasks are revoked, as `Revoked` learns it.
    revoked: dict[str, bool] | None
    #: The largest number that its owner has got.
    last: int
    #: The last queue that gave a message.
    gave: str
    #: When it must look again by itself (epoch seconds).
    look: float | None
    waiters: list[bench.Call]
    watchers: list[str]


class SqliteBroker:
    """One user of a file as a broker. It closes what it has of the store."""

    def __init__(self, session: Session, with_results: bool) -> None:
        self._session = session
        self._with_results = with_results
        self._pid = os.getpid()
        self._revoked = Revoked(self._is_revoked)
        #: In the order in which the next turn serves them.
        self._queues: tuple[str, ...] = ()
        #: By owner, the largest number that `turn` or `adopt` has returned.
        self._last: dict[str, int] = {}
        #: Owners of whose last call nobody knows whether it happened.
        self._in_doubt: set[str] = set()
        #: How a sleeping turn is told; opened by the first that sleeps.
        self._alarm: Alarm | None = None
        self._woken = False
        #: Monotonic time until which our row on the bench may count.
        self._sits_until = 0.0

    # --- sending ------------------------------------------------------------------------------------------

    def publish(self, messages: Sequence[Message]) -> None:
        if messages:
            self.publish_all([messages])

    def publish_all(self, batches: Iterable[Sequence[Message]]) -> None:
        headers = Headers()
        for batch in batches:
            whole = headers.after(batch)

            def work(
                db: sqlite3.Connection,
                fresh: Fresh,
                batch: Sequence[Message] = batch,
                whole: set[str] = whole,
            ) -> None:
                now = time.time()
                moves.add(db, batch, now, fresh)
                if headers.open or whole:
                    chords.keep_headers(db, headers.open, whole, now)

            self.move(work)

    # --- the turn -----------------------------------------------------------------------------------------

    def consume(self, queues: Sequence[str]) -> None:
        self._queues = tuple(dict.fromkeys(queues))
        if self._sits_until:
            # A turn may wait for the old ones in another thread: let it sit down again.
            self.write(lambda db: bench.leave(db, self._address()))
            ring([self._address()])

    def turn(self, owner: str, outcomes: Sequence[Outcome], want: int, wait: float = 0.0) -> list[Claim]:
        deadline = time.monotonic() + wait
        woken = False
        try:
            while True:
                waits = want > 0 and not woken and time.monotonic() < deadline
                turned = self._turn(owner, outcomes, want, deadline if waits else None)
                if turned.claims or not waits:
                    return turned.claims
                outcomes = ()
                woken = self._sleep(deadline, turned.look)
        except BaseException:
            # It may have been rung for a message that it will not claim now: somebody else must hear of it.
            self._give_up_waiting()
            raise

    def wake(self) -> None:
        self._woken = True
        if self._alarm is not None:
            self._alarm.wake()

    def _turn(self, owner: str, outcomes: Sequence[Outcome], want: int, wait_until: float | None) -> Turned:
        """One transaction: settle, make due, claim, or else sit down on the bench until `wait_until`."""
        if wait_until is not None:
            self._address()
        try:
            turned = self.write(lambda db: self._settle_and_claim(db, owner, outcomes, want, wait_until))
        except BaseException:
            self._in_doubt.add(owner)
            raise
        self._in_doubt.discard(owner)
        self._last[owner] = turned.last
        if turned.claims:
            self._revoked.learn(turned.revoked)
        self._sits_until = wait_until if wait_until is not None and not turned.claims else 0.0
        if turned.gave:
            after = self._queues.index(turned.gave) + 1 if turned.gave in self._queues else 0
            self._queues = self._queues[after:] + self._queues[:after]
        self._ring(turned.waiters)
        self._ring_watchers(turned.watchers)
        return turned

    def _settle_and_claim(
        self, db: sqlite3.Connection, owner: str, outcomes: Sequence[Outcome], want: int, until: float | None
    ) -> Turned:
        row = db.execute(sql.OWNER, (owner,)).fetchone()
        if row is None:
            raise Fenced(owner)
        id, reserved = row
        now, monotonic = time.time(), time.monotonic()
        queues = self._queues
        fresh: Fresh = Counter()
        watchers: list[str] = []
        if outcomes:
            results = moves.settle(db, id, outcomes, now, fresh)
            if results and self._with_results:
                watchers = save_results(db, results, now)
        moves.promote(db, now, fresh)
        # What was reserved is the latest that another connection can have given.
        last = self._last.setdefault(owner, reserved)
        claims, gave = [], ""
        stopped = db.execute(sql.PAUSED).fetchall() if want else ()
        served = [queue for queue in queues if (queue,) not in stopped] if stopped else queues
        if owner in self._in_doubt:
            claims = moves.claims_above(db, id, last)
            last = claims[-1].number if claims else last
        if want > len(claims):
            more, gave = moves.claim(db, id, served, want - len(claims), last)
            claims += more
            last += len(more)
            moves.reserve(db, id, last, reserved)
        look = None
        if until is not None and not claims:
            # Who put a message off may be unable to run it: the alarm for it goes to another, if any.
            put_off = any(outcome.fate is Fate.DEFERRED for outcome in outcomes)
            look = bench.sit(db, self._address(), queues, until, monotonic, now, alarms=not put_off)
            queues = ()
        elif self._sits_until > monotonic:
            bench.leave(db, self._address())
        waiters = bench.rouse(db, fresh, queues, monotonic, now)
        revoked = revokes.of_claims(db, claims, now) if claims else None
        return Turned(claims, revoked, last, gave, look, waiters, watchers)

    def _sleep(self, deadline: float, look: float | None) -> bool:
        """Sleep until there is something to see; returns whether `wake` ended it."""
        pause = min(deadline - time.monotonic(), LONGEST_PAUSE)
        if look is not None:
            pause = min(pause, look - time.time())
        alarm = self._alarm
        if alarm is None or not self._session.is_open:
            return True
        woken = alarm.wait(0.0 if self._woken else pause) or self._woken
        self._woken = False
        return woken

    def _give_up_waiting(self) -> None:
        if self._sits_until:
            self._sits_until = 0.0
            with suppress(OperationalError):
                self.move(lambda db, _: bench.leave(db, self._address()), left=self._queues)

    # --- owners and leases --------------------------------------------------------------------------------

    def enlist(self, owner: str, node: str, lease: float) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute(sql.ENLIST, (owner, node))
            db.execute(sql.START_LEASE, (node, time.monotonic(), lease))

        self.write(work)

    def beat(self, node: str, lease: float, living: Collection[str] = ()) -> list[str]:
        def work(db: sqlite3.Connection, fresh: Fresh) -> list[str]:
            now = time.monotonic()
            if db.execute(sql.LATE, (node, now)).fetchone() is not None:
                # Perhaps the file was locked, or its disk full, for all of us: the others get one more lease
                # to say that they live.
                db.execute(sql.RENEW_ENDED_LEASES, (now, lease))
            db.execute(sql.RENEW_LEASE, (node, now, lease))
            db.execute(sql.DELETE_ENDED_NODES, (now,))
            bench.tidy(db)
            sweep(db, time.time())
            revokes.sweep(db, time.time())
            moves.add(db, chords.break_lost(db, time.time()), time.time(), fresh)
            chords.sweep(db, time.time())
            orphans = [name for (name,) in db.execute(sql.ORPHANS, (now,)).fetchall()]
            mine = db.execute(sql.OWNERS_OF_NODE, (node,)).fetchall() if living else []
            return orphans + [name for (name,) in mine if name not in living]

        return self.move(work)

    def adopt(self, owner: str, by: str, node: str) -> list[Claim]:
        def work(db: sqlite3.Connection, fresh: Fresh) -> tuple[list[Claim], int]:
            old = db.execute(sql.OWNER_AND_NODE, (owner,)).fetchone()
            new = db.execute(sql.OWNER_AND_NODE, (by,)).fetchone()
            if old is None:
                # Nobody knows it, unless a call of ours did it already and could not say so.
                known = new is not None and by in self._in_doubt
                return (moves.claims_above(db, new[0], 0), new[2]) if known else ([], 0)
            db.execute(sql.ENLIST, (by, node))
            db.execute(sql.INHERIT_LEASE, (node, time.monotonic(), old[1]))
            id, _, reserved = db.execute(sql.OWNER_AND_NODE, (by,)).fetchone()
            if db.execute(sql.SAME_NUMBER, (old[0], id)).fetchone() is not None:
                raise ValueError(f"{by} holds claims of the same numbers as {owner}: adopt under a new name")
            adopted = moves.claims_above(db, old[0], 0)
            db.execute(sql.MOVE_CLAIMS, (id, old[0]))
            db.execute(sql.DELETE_OWNER, (old[0],))
            # Its process may have been the one with the alarm, or have been rung for a message just before.
            db.execute(sql.FORGET_ALARMS)
            fresh.update(queue for (queue,) in db.execute(sql.QUEUES_WAITED_FOR).fetchall())
            last = max(reserved, old[2])
            db.execute(sql.RESERVE_NUMBERS, (last, id))
            return adopted, last

        try:
            adopted, last = self.move(work)
        except BaseException:
            self._in_doubt.add(by)
            raise
        self._in_doubt.discard(by)
        if adopted:
            self._last[by] = max(last, self._last.get(by, 0))
        return adopted

    def dismiss(self, owner: str) -> None:
        def work(db: sqlite3.Connection, fresh: Fresh) -> None:
            row = db.execute(sql.OWNER, (owner,)).fetchone()
            if row is None:
                return
            moves.part(db, row[0], owner, time.time(), fresh)
            db.execute(sql.DELETE_ALL_CLAIMS, row[:1])
            db.execute(sql.DELETE_OWNER, row[:1])
            if self._sits_until:
                # A turn that waits in another thread: its process may be about to end, and its seat with it.
                bench.leave(db, self._address())

        self.move(work, left=self._queues if self._sits_until else ())
        self._last.pop(owner, None)
        self._in_doubt.discard(owner)

    def lookout(self, node: str, distrust: Callable[[], None] = lambda: None) -> None:
        """None: whoever makes a message ready or delays one, wakes who must know."""

    def distrust(self) -> None:
        """Nothing: a file is no connection."""

    # --- the operator's calls -----------------------------------------------------------------------------

    def depth(self, queues: Sequence[str]) -> dict[str, Depth]:
        def work(db: sqlite3.Connection) -> dict[str, Depth]:
            counts = (sql.COUNT_READY, sql.COUNT_DELAYED, sql.COUNT_CLAIMED, sql.COUNT_DEAD)
            return {
                queue: Depth(*(db.execute(count, (queue,)).fetchone()[0] for count in counts))
                for queue in queues
            }

        return self.read(work)

    def queues(self) -> list[str]:
        return self.read(lambda db: [queue for (queue,) in db.execute(sql.QUEUES).fetchall()])

    def peek(self, queue: str, n: int) -> list[bytes]:
        def work(db: sqlite3.Connection) -> list[bytes]:
            ready = db.execute(sql.PEEK, (queue, max(n, 0))).fetchall()
            due = db.execute(sql.PEEK_DUE, (queue, time.time(), max(n - len(ready), 0))).fetchall()
            return [payload for (payload,) in ready + due]

        return self.read(work)

    def payloads(self) -> Iterator[Sequence[bytes]]:
        # What moves gets a larger id, or keeps its own.
        last, rows = 0, [(0, b"")] * READ_AT_ONCE
        while len(rows) == READ_AT_ONCE:
            after = (last, READ_AT_ONCE)
            rows = self.read(lambda db, after=after: db.execute(sql.ALIVE_AFTER, after).fetchall())  # type: ignore[misc]
            yield [payload for _, payload in rows]
            last = rows[-1][0] if rows else last

    def firsts(self, queue: str) -> dict[int, bytes]:
        return dict(self.read(lambda db: db.execute(sql.FIRSTS, (queue,)).fetchall()))

    def purge(self, queue: str) -> int:
        def work(db: sqlite3.Connection) -> int:
            removed = db.execute(sql.PURGE_READY_MESSAGES, (queue,)).rowcount
            removed += db.execute(sql.PURGE_DELAYED_MESSAGES, (queue,)).rowcount
            db.execute(sql.PURGE_READY, (queue,))
            db.execute(sql.PURGE_DELAYED, (queue,))
            return removed

        return self.write(work)

    def foreign_claims(self, *, put_back: bool = False) -> int:
        return 0

    def seize(self, queue: str, owner: str, most: int, *, every: bool = False) -> int:
        def work(db: sqlite3.Connection) -> int:
            known = db.execute(sql.OWNER, (owner,)).fetchone()
            if known is None:
                raise Fenced(owner)
            return moves.seize(db, known[0], queue, most, every=every)

        return self.write(work)

    def letters(self, n: int) -> list[Letter]:
        rows = self.read(lambda db: db.execute(sql.LETTERS, (max(n, 0),)).fetchall())
        return [Letter(*row) for row in rows]

    def replay(self, ids: Sequence[str]) -> int:
        return self.move(lambda db, fresh: moves.replay(db, ids, fresh))

    def revoke(self, ids: Sequence[str], keep: float) -> list[str]:
        return self.write(lambda db: revokes.revoke(db, ids, keep, time.time()))

    @property
    def revoked(self) -> Container[str]:
        return self._revoked

    def bind(self, bindings: Sequence[Binding], keep: float | None = None) -> None:
        now = time.time()
        until = None if keep is None else now + keep
        self.write(lambda db: exchanges.bind(db, bindings, until, now))

    def bindings(self, exchange: str) -> list[Binding]:
        return self.read(lambda db: exchanges.bindings(db, exchange, time.time()))

    def announce(self, exchange: str, key: str, payload: bytes) -> None:
        """Nobody else reads this file."""

    def _is_revoked(self, id: str) -> bool:
        return self.read(lambda db: bool(revokes.of_ids(db, [id], time.time())))

    def relieve(self, owner: str, above: int, upto: int) -> int:
        def work(db: sqlite3.Connection, fresh: Fresh) -> int:
            row = db.execute(sql.OWNER, (owner,)).fetchone()
            claims = moves.claims_above(db, row[0], above) if row is not None else []
            back = [Outcome(claim.number, Fate.GIVEN_BACK) for claim in claims if claim.number <= upto]
            if back:
                moves.settle(db, row[0], back, time.time(), fresh)
            return len(back)

        return self.move(work)

    def held(self, owner: str) -> list[Claim]:
        def work(db: sqlite3.Connection) -> list[Claim]:
            row = db.execute(sql.OWNER, (owner,)).fetchone()
            return moves.claims_above(db, row[0], 0) if row is not None else []

        return self.read(work)

    def delayed(self, queue: str, n: int) -> list[tuple[float, bytes]]:
        return self.read(lambda db: db.execute(sql.DELAYED_OF, (queue, max(n, 0))).fetchall())

    def revokes(self, n: int) -> list[str]:
        rows = self.read(lambda db: db.execute(sql.REVOKED_TASKS, (time.time(), max(n, 0))).fetchall())
        return [id for (id,) in rows]

    def pause(self, queue: str) -> None:
        self.write(lambda db: db.execute(sql.PAUSE, (queue,)))

    def resume(self, queue: str) -> None:
        def work(db: sqlite3.Connection, fresh: Fresh) -> None:
            db.execute(sql.RESUME, (queue,))
            fresh[queue] += int(db.execute(sql.COUNT_READY, (queue,)).fetchone()[0])

        self.move(work)

    def paused(self) -> list[str]:
        return self.read(lambda db: [queue for (queue,) in db.execute(sql.PAUSED).fetchall()])

    def close(self) -> None:
        if self._session.is_open:
            self._give_up_waiting()
            self._session.close()
            self.wake()
            # The bell goes with its last user, which may be a turn that is just ending.
            self._alarm = None

    # --- transactions and bells ---------------------------------------------------------------------------

    def move(self, work: Callable[[sqlite3.Connection, Fresh], T], left: Sequence[str] = ()) -> T:
        """Do work in one transaction that may make messages ready, and wake who waits for them."""

        def work_and_rouse(db: sqlite3.Connection) -> tuple[T, list[bench.Call]]:
            fresh: Fresh = Counter()
            answer = work(db, fresh)
            return answer, bench.rouse(db, fresh, left, time.monotonic(), time.time())

        answer, calls = self.write(work_and_rouse)
        self._ring(calls)
        return answer

    def _ring(self, calls: list[bench.Call]) -> None:
        """Ring them; for each that was killed while it waited ring somebody else."""
        # What had to be stored is stored, so no trouble in here may say otherwise; a wait has its net.
        with suppress(OperationalError):
            while calls:
                nobody = set(ring(dict.fromkeys(address for address, _ in calls)))
                unheard = Counter(queue for address, queue in calls if address in nobody)
                if not unheard:
                    break
                calls = self.write(
                    lambda db, unheard=unheard: bench.rouse(db, unheard, (), time.monotonic(), time.time())  # type: ignore[misc]
                )

    def _ring_watchers(self, addresses: list[str]) -> None:
        if addresses:
            with suppress(OperationalError):
                ring_watchers(self.write, addresses)

    def _address(self) -> str:
        if self._alarm is None:
            self._alarm = self._session.alarm()
        return self._alarm.address

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._must_be_at_home()
        return self._session.write(work)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._must_be_at_home()
        return self._session.read(work)

    def _must_be_at_home(self) -> None:
        """What a broker knows of its owners does not hold in a fork of its process."""
        if self._pid != os.getpid():
            raise OperationalError(
                f"This broker on {self._session.place} belongs to the process from which this one was "
                "forked: open one here"
            )
