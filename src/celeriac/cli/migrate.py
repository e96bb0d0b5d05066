"""`celeriac migrate`: bring what waits from one broker to another, of whatever technology."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from uuid import uuid4

import click

from celeriac.cli import values
from celeriac.cli.table import json_option, show_json
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
    "-t", "--timeout", type=float, default=1.0, metavar="SECONDS", help="With -F: how long to wait for more."
)
@click.option(
    "-a", "--ack-messages", is_flag=True, help="Move: remove them at the source. Without it they are copied."
)
@click.option("-T", "--tasks", type=values.names, metavar="A,B,...", help="Only these tasks.")
@click.option("-Q", "--queues", type=values.names, metavar="A,B,...", help="Only these queues. [all]")
@click.option("-F", "--forever", is_flag=True, help="Go on with what comes, until Ctrl-C. Only with -a.")
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
    as_json: bool,
) -> None:
    """Copy (with -a: move) what waits from the broker SOURCE to the broker DESTINATION, both URLs.

    With -a each message is sent before it is removed, so a kill in between may leave it on both sides, never
    on none. Messages that wait for an ETA stay until they are due.
    """
    if forever and not ack_messages:
        raise click.UsageError("-F without -a would copy the same messages again and again: add -a")
    here, there = open_broker(source), open_broker(destination)
    try:
        names = list(queues or here.queues())
        courier = Courier(here, there, names, tasks, remove=ack_messages)
        try:
            for count in courier.carry(limit, timeout if forever else None):
                if not as_json:
                    click.echo(f"Migrating: {count} so far", err=True)
        except KeyboardInterrupt:
            pass
        finally:
            courier.close()
        left = sum(depth.delayed for depth in here.depth(names).values()) if names else 0
    finally:
        here.close()
        there.close()
    if as_json:
        show_json({"migrated": courier.count, "delayed at the source": left})
        return
    click.echo(
        f"{'Moved' if ack_messages else 'Copied'} {courier.count} message{'' if courier.count == 1 else 's'}."
    )
    if left:
        click.echo(
            f"{left} that wait for an ETA stay at the source: migrate again when they are due.", err=True
        )


class Courier:
    """Claims at the source as a worker would, so that nobody else runs what is on its way."""

    def __init__(
        self, here: Broker, there: Broker, queues: list[str], tasks: Collection[str] | None, *, remove: bool
    ) -> None:
        self._here = here
        self._there = there
        self._queues = queues
        self._tasks = tasks
        self._remove = remove
        node = f"migrate:{uuid4().hex}"
        self._owner = f"{node}/1x1"
        #: What is not ours to bring: given back at the end, so that it is not claimed again and again.
        self._passed_by: list[int] = []
        self.count = 0
        if queues:
            here.consume(queues)
            here.enlist(self._owner, node, _LEASE)
        self._node = node

    def carry(self, limit: int | None, wait: float | None) -> Iterator[int]:
        """Bring them, telling the number after each step; with `wait` seconds it never ends."""
        if not self._queues:
            return
        settled: list[Outcome] = []
        while limit is None or self.count < limit:
            want = _BATCH if limit is None else min(_BATCH, limit - self.count)
            claims = self._here.turn(self._owner, settled, want, wait or 0.0)
            settled = []
            if not claims:
                if wait is None:
                    return
                self._here.beat(self._node, _LEASE)
                continue
            wanted = [claim for claim in claims if self._is_wanted(claim)]
            self._there.publish([_message(claim) for claim in wanted])
            self.count += len(wanted)
            if self._remove:
                settled = [Outcome(claim.number, Fate.ACKED) for claim in wanted]
                self._here.turn(self._owner, settled, 0)
                settled = []
            self._here.beat(self._node, _LEASE)
            if wanted:
                yield self.count

    def close(self) -> None:
        """What is still held goes back in its order."""
        if self._queues:
            self._here.dismiss(self._owner)

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
    return Message(message.id, claim.queue, claim.payload, message.priority)
