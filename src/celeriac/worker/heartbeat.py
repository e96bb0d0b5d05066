"""A node's sign of life: renews its lease, looks out for messages that wake nobody, takes over from nodes
that fell silent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from itertools import chain

from celeriac import signals
from celeriac.exceptions import OperationalError
from celeriac.message import Claim, Outcome
from celeriac.ports import Broker, Lookout
from celeriac.routing import Served
from celeriac.worker.names import heir_name, rooms_of

#: A lease is renewed this many times before it would run out.
BEATS_PER_LEASE = 3
#: Seconds until the next try while the store is away.
PAUSE = 0.5

logger = logging.getLogger("celery.worker.consumer")

#: Judges the claims of a dead owner: (claims, number up to which they had begun or None if unknown, rooms,
#: how it died).
Judge = Callable[[list[Claim], int | None, int, str], list[Outcome]]


class Heartbeat:
    """Called whenever it is due or its lookout has something to read; runs no user code, never waits long."""

    def __init__(
        self,
        broker: Broker,
        node: str,
        lease: float,
        judge: Judge,
        served: Served,
        distrust: Callable[[], None] = lambda: None,
        living: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._broker = broker
        #: Called when connections of the node's children may be dead without having been told.
        self._distrust = distrust
        self._served = served
        #: The owners of this node that live, or that died and are settled by `take_over`.
        self._living = living
        self._bound = False
        self._node = node
        self._lease = lease
        self._judge = judge
        self._lookout: Lookout | None = None
        self._next_beat = 0.0
        self._next_look = 0.0
        #: The store did not answer when it was last asked.
        self.is_away = False
        #: Monotonic seconds of the last renewal; 0 before the first.
        self.renewed = 0.0
        #: Monotonic seconds since when the store has answered often enough to judge others by their leases.
        self._in_touch_since = 0.0
        #: Owners whose lease ran out and whose claims are not settled yet, in the order of finding them.
        self._orphans: dict[str, None] = {}
        #: Dead owner -> who may hold its claims: itself, or an heir of whom we did not hear what it got.
        self._holders: dict[str, list[str]] = {}

    def start(self) -> None:
        """After the queues are set with `broker.consume`."""
        self._lookout = self._broker.lookout(self._node, self._distrust)

    def fileno(self) -> int | None:
        """What to poll for reading, if anything."""
        return self._lookout.fileno() if self._lookout is not None else None

    def beat(self) -> float:
        """Do what is due; returns the seconds until it wants to be called again."""
        try:
            if not self._bound:
                self._bind()  # before the lookout listens for what is bound
            if self._lookout is not None:
                self._next_look = time.monotonic() + self._lookout.look()
            if time.monotonic() >= self._next_beat:
                self._renew()
            self.is_away = False
        except OperationalError as error:
            if not self.is_away:
                self.is_away = True
                logger.error("The store is away, the lease of this node cannot be renewed: %s", error)
            # A short lease leaves no time for long pauses.
            pause = min(PAUSE, self._lease / 20)
            self._next_beat = time.monotonic() + pause
            return pause
        due = min(self._next_beat, self._next_look) if self._lookout is not None else self._next_beat
        return max(0.0, due - time.monotonic())

    def take_over(self, owner: str, begun: int | None, how: str, judge: Judge | None = None) -> int:
        """Settle the claims of a dead owner; returns how many there were. Safe to try again after
        OperationalError."""
        holders = self._holders.setdefault(owner, [owner])
        count = 0
        while holders:
            holder, heir = holders[0], heir_name(self._node)
            holders.append(heir)
            claims = self._broker.adopt(holder, heir, self._node)
            if holder != owner:
                self._broker.dismiss(holder)  # so that what it left unanswered is not said again
            del holders[0]
            if claims:
                self._broker.turn(heir, (judge or self._judge)(claims, begun, rooms_of(owner), how), 0)
            self._broker.dismiss(heir)
            holders.remove(heir)
            count += len(claims)
        del self._holders[owner]
        return count

    def stop(self) -> None:
        """May be called twice."""
        lookout, self._lookout = self._lookout, None
        if lookout is not None:
            lookout.close()

    def _known(self) -> Collection[str]:
        """Owners of this node that the store may know."""
        living = self._living()
        return {*living, *self._holders, *chain.from_iterable(self._holders.values())} if living else ()

    def _bind(self) -> None:
        if self._served.lasting and not self._bound:
            self._broker.bind(self._served.lasting)
        if self._served.living:
            # A little longer than the lease: who fell silent may come back.
            self._broker.bind(self._served.living, self._lease * 2)
        self._bound = True

    def _renew(self) -> None:
        self._bind()
        now, pause = time.monotonic(), self._lease / BEATS_PER_LEASE
        if not self.renewed or now - self.renewed > self._lease / 2:
            self._in_touch_since = now
        # Who is new here or was out of touch waits for the next beat before he judges others: if the store
        # was away, they could not say that they live.
        judges = now - self._in_touch_since > pause / 2
        for owner in self._broker.beat(self._node, self._lease, self._known()):
            if judges or owner.startswith(f"{self._node}/"):
                self._orphans[owner] = None
        if signals.heartbeat_sent.receivers:
            signals.heartbeat_sent.send(self)
        for owner in list(self._orphans):
            # Our own has left long ago, so nothing of it was running: the store had forgotten that.
            ours = owner.startswith(f"{self._node}/")
            count = self.take_over(owner, 0 if ours else None, "its node fell silent")
            del self._orphans[owner]
            if count:
                why = "which the store had forgotten to have left" if ours else "whose lease ran out"
                logger.warning("Restoring %d unacknowledged message(s) of %s, %s", count, owner, why)
        self.renewed = time.monotonic()
        self._next_beat = self.renewed + pause
