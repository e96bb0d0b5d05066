"""What remote control may ask of a node, and tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from celeriac.app import Celery
from celeriac.message import Claim
from celeriac.ports import Broker
from celeriac.worker.options import WorkerOptions
from celeriac.worker.slots import Slot
from celeriac.worker.totals import Totals


class Place(msgspec.Struct, frozen=True):
    """One child of the node."""

    owner: str
    pid: int
    slot: Slot
    rooms: int


class Running(msgspec.Struct, frozen=True):
    """A claim of a child, and since when it runs."""

    place: Place
    claim: Claim
    #: Epoch seconds.
    since: float | None


class Node(Protocol):
    """A supervisor with its children, or a solo worker."""

    app: Celery
    options: WorkerOptions
    broker: Broker
    totals: Totals
    #: Epoch seconds.
    started_at: float

    @property
    def hostname(self) -> str: ...

    @property
    def queues(self) -> tuple[str, ...]:
        """What it serves."""

    @property
    def size(self) -> int:
        """How many children there shall be."""

    @property
    def store_is_away(self) -> bool:
        """It did not answer the last sign of life."""

    def places(self) -> list[Place]:
        """All children that live."""

    def tell(self, *order: Any, name: str) -> None:
        """An order for all children, and for those that come: the last one of each name counts."""

    def serve(self, queues: Sequence[str]) -> None:
        """Serve these queues from now on."""

    def terminate(self, running: Running, signum: int) -> None:
        """End a task that runs, if it still does."""

    def pool_grow(self, n: int = 1) -> int: ...

    def pool_shrink(self, n: int = 1) -> int: ...

    def pool_restart(self) -> None: ...

    def shut_down(self) -> None:
        """Finish what runs, and end."""

    @property
    def tells_events(self) -> bool: ...

    def tell_events(self, on: bool) -> None:
        """Tell monitors of tasks, or no longer."""

    def tell_of_itself(self) -> None:
        """A heartbeat event, now."""

    def more_stats(self) -> Mapping[str, Any]:
        """What this kind of node adds to its stats."""


def running(node: Node) -> list[Running]:
    """What runs on it: claims that are held and have begun."""
    found: list[Running] = []
    for place in node.places():
        noted, begun = place.slot.running, place.slot.begun
        found += [
            Running(place, claim, noted.get(claim.number))
            for claim in node.broker.held(place.owner)
            # In one room only the last can run: the ones before have ended and are not settled yet.
            if claim.number == begun or (place.rooms > 1 and claim.number < begun)
        ]
    return found


def reserved(node: Node) -> list[Claim]:
    """What its children hold and have not begun."""
    return [
        claim
        for place in node.places()
        for claim in node.broker.held(place.owner)
        if claim.number > place.slot.begun
    ]
