"""`celeriac migrate`: bring what waits from one broker to another, of whatever technology."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from uuid import uuid4

import click

from celeriac.cli import values
from celeriac.cli.table import json_option, show_json
from celeriac.clock import to_epoch
from celeriac.drivers.opening import open_broker
from celeriac.exceptions import CeleriacError
from celeriac.message import Claim, Fate, Message, Outcome
from celeriac.ports import Broker
from celeriac.wire.task import unpack

#: Messages of one step, and seconds that nobody else may take them meanwhile.
_BATCH, _LEASE = 100, 60.0


@click.command()
@click.argument("source")
@click.argument("destination")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="NUMBER", help="No more than so many.")
@click.option(
    "-t",
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    metavar="SECONDS",
    help="With -F: how long to wait before looking again. [1]",
)
@click.option(
    "-a", "--ack-messages", is_flag=True, help="Move: remove them at the source. Without it they are copied."
)
@click.option("-T", "--tasks", type=values.names, metavar="A,B,...", help="Only these tasks.")
@click.option("-Q", "--queues", type=values.names, metavar="A,B,...", help="Only these queues. [all]")
@click.option("-F", "--forever", is_flag=True, help="Go on with what comes, until Ctrl-C. Only with -a.")
@click.option(
    "--unacked",
    is_flag=True,
    help="Before that, put back into SOURCE's queues what stock Celery's workers held. Stop them first.",
)
@json_option
def migrate(
    source: str,
    destination: str,
    limit: int | None,
    timeout: float,
    ack_messages: bool,
    tasks: tuple[str, ...] | None,
    queues: tuple[str, ...] | None,
    forever: bool,
    unacked: bool,
    as_json: bool,
) -> None:
    """Copy (with -a: move) what waits from the broker SOURCE to the broker DESTINATION, both URLs.

    What waits for an ETA goes too, and waits on there. With -a each message is sent before it is removed, so
    a kill in between may leave it on both sides, never on none. Results, and what was counted of chords
    whose members have begun, stay where they are.
    """
    if forever and not ack_messages:
        raise click.UsageError("-F without -a would copy the same messages again and again: add -a")
    if source == destination:
        raise click.UsageError("SOURCE and DESTINATION are the same broker")
    here, there = open_broker(source), open_broker(destination)
    try:
        back = here.foreign_claims(put_back=True) if unacked else 0
        courier = Courier(here, there, tasks, remove=ack_messages)
        try:
            for count in courier.carry(queues, limit, timeout if forever else None):
                if not as_json:
                    click.echo(f"Migrating: {count} so far", err=True)
        except KeyboardInterrupt:
            pass
        finally:
            courier.close()
        held = here.foreign_claims()
    finally:
        here.close()
        there.close()
    if as_json:
        show_json({"migrated": courier.count, "put back": back, "held by stock workers": held})
        return
    click.echo(f"{'Moved' if ack_messages else 'Copied'} {_so_many(courier.count)}.")
    if held:
        click.echo(
            f"Stock Celery's workers hold {_so_many(held)} at the source, tasks with an ETA among them. Stop "
            "these workers (TERM): then they put back what they hold; what killed ones left behind --unacked "
            "puts back. Then migrate again.",
            err=True,
        )


class Courier:
    """Takes messages out of their queues under a lease of its own, so that nobody else runs what is on its
    way, and others return it if this process dies."""

    def __init__(self, here: Broker, there: Broker, tasks: Collection[str] | None, *, remove: bool) -> None:
        self._here = here
        self._there = there
        self._tasks = tasks
        self._remove = remove
        self._node = f"migrate:{uuid4().hex}"
        #: What goes back at the end, so that it is not taken again and again: (who holds it, claims).
        self._kept: list[tuple[str, list[Claim]]] = []
        self.count = 0

    def carry(self, queues: Collection[str] | None, limit: int | None, pause: float | None) -> Iterator[int]:
        """Bring them, telling the number after each step; with a `pause` between two looks it never ends."""
        while True:
            for queue in queues or self._here.queues():
                while limit is None or self.count < limit:
                    most = _BATCH if limit is None else min(_BATCH, limit - self.count)
                    holder, claims = self._take(queue, most)
                    if not claims:
                        break
                    if self._bring(holder, claims):
                        yield self.count
            if pause is None or (limit is not None and self.count >= limit):
                return
            time.sleep(pause)
            self._here.beat(self._node, _LEASE)

    def close(self) -> None:
        """What is still held goes back, the last first, so that its order is the old one."""
        for holder, claims in reversed(self._kept):
            moments = ((claim, _eta(claim.payload)) for claim in claims)
            delayed = [Outcome(claim.number, Fate.DEFERRED, eta=eta) for claim, eta in moments if eta]
            if delayed:
                self._here.turn(holder, delayed, 0)
            self._here.dismiss(holder)
        self._kept.clear()

    def _take(self, queue: str, most: int) -> tuple[str, list[Claim]]:
        # Of no room: should this process die, others return the claims without counting a death against any.
        taker, holder = (f"{self._node}/{uuid4().hex}x0" for _ in range(2))
        self._here.enlist(taker, self._node, _LEASE)
        self._here.seize(queue, taker, most, every=True)
        claims = self._here.adopt(taker, holder, self._node)
        if not claims:
            self._here.dismiss(holder)
        return holder, claims

    def _bring(self, holder: str, claims: list[Claim]) -> int:
        wanted = [claim for claim in claims if self._is_wanted(claim)]
        self._there.publish([_message(claim) for claim in wanted])
        self.count += len(wanted)
        if self._remove:
            self._here.turn(holder, [Outcome(claim.number, Fate.ACKED) for claim in wanted], 0)
            gone = {claim.number for claim in wanted}
            claims = [claim for claim in claims if claim.number not in gone]
        if claims:
            self._kept.append((holder, claims))
        else:
            self._here.dismiss(holder)
        self._here.beat(self._node, _LEASE)
        return len(wanted)

    def _is_wanted(self, claim: Claim) -> bool:
        if self._tasks is None:
            return True
        try:
            return unpack(claim.payload).name in self._tasks
        except CeleriacError:
            return False


def _message(claim: Claim) -> Message:
    try:
        message = unpack(claim.payload)
    except CeleriacError:
        return Message(uuid4().hex, claim.queue, claim.payload)
    return Message(message.id, claim.queue, claim.payload, message.priority, eta=_eta(claim.payload))


def _eta(payload: bytes) -> float | None:
    """The moment for which it waits, None if it is over."""
    with suppress(CeleriacError, ValueError, TypeError):
        eta = unpack(payload).eta
        moment = to_epoch(eta) if eta else 0.0
        if moment > time.time():
            return moment
    return None


def _so_many(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'}"
