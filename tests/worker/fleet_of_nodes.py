"""Many light nodes in one process: true switchboards on true connections, without children."""

from __future__ import annotations

import json
import select
import sys
import time
from typing import Any

from celeriac import Celery
from celeriac.worker.options import WorkerOptions
from celeriac.worker.slots import Slots
from celeriac.worker.switchboard import Switchboard
from celeriac.worker.totals import Totals


class Light:
    """A node that runs nothing."""

    def __init__(self, app: Celery, number: int, totals: Totals) -> None:
        self.app = app
        self.options = WorkerOptions(hostname=f"node{number}@fleet")
        self.hostname = self.options.hostname
        self.broker = app.broker
        self.totals = totals
        self.started_at = time.time()
        self.queues = ("celery",)
        self.size = 1
        self.switchboard = Switchboard(self)  # type: ignore[arg-type]

    def places(self) -> list[Any]:
        return []

    def more_stats(self) -> dict[str, Any]:
        return {}


def main(url: str, count: int) -> None:
    app = Celery("fleet", broker=url)
    totals = Totals(sorted(app.tasks), Slots(1).most)
    nodes = [Light(app, number, totals) for number in range(count)]
    poll = select.poll()
    poll.register(0, select.POLLIN)
    known: dict[int, Light] = {}

    def listen(node: Light) -> None:
        node.switchboard.serve()
        number = node.switchboard.fileno()
        assert number is not None
        known[number] = node
        poll.register(number, select.POLLIN)

    for node in nodes:
        listen(node)
    print("ready", flush=True)
    coming: list[Light] = []
    while True:
        for number, _ in poll.poll(0 if coming else None):
            if number in known:
                known[number].switchboard.serve()
                continue
            line = sys.stdin.readline()
            if not line:
                return
            coming = nodes[: json.loads(line)[1]]
        if not coming:
            continue
        # One after the other, as true ones would: meanwhile the others answer.
        node = coming.pop()
        gone = node.switchboard.fileno()
        assert gone is not None
        poll.unregister(gone)
        del known[gone]
        node.switchboard.stop()
        listen(node)
        if not coming:
            print("bounced", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
