"""Moving away from stock Celery: nothing that its workers held, or left behind, is lost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import redis
from click.testing import CliRunner

from celeriac.cli.program import program
from celeriac.drivers.opening import open_broker
from interop import shop
from interop.conftest import Customer

#: As a stock worker that has fetched a task and is killed: its connection stays open, so nothing is put back.
FETCHED = """
import kombu
app.send_task("shop.add", (1, 2), queue=queue, task_id="held", countdown=3600, priority=6)
connection = kombu.left_open = app.connection_for_read()
channel = connection.channel()
answer = app.amqp.queues[queue](channel).get().headers["id"]
"""


def test_CLI_7_what_a_stock_worker_held_for_an_eta_moves_with_the_rest(
    stock: Customer, ours: Any, url: str, store: redis.Redis, tmp_path: Path
) -> None:
    def migrate(*options: str) -> tuple[str, str]:
        done = CliRunner().invoke(program, ["migrate", url, there, "-a", "-Q", shop.NOBODYS, *options])
        assert done.exit_code == 0, done.output
        return done.stdout, done.stderr

    there = f"sqlite:///{tmp_path}/there.db"
    store.delete("unacked", "unacked_index")  # of other tests, whose workers were killed
    assert stock(FETCHED, queue=shop.NOBODYS) == "held"
    ours.send_task("shop.add", (3, 4), queue=shop.NOBODYS)
    moved, warned = migrate()
    assert moved == "Moved 1 message.\n"
    assert "Stock Celery's workers hold 1 message at the source" in warned
    moved, warned = migrate("--unacked")
    assert moved == "Moved 1 message.\n"
    assert "Stock" not in warned
    assert store.hlen("unacked") == store.zcard("unacked_index") == 0
    broker = open_broker(there)
    try:
        ((eta, payload),) = broker.delayed(shop.NOBODYS, 9)
        assert b'"held"' in payload
        assert 3500 < eta - time.time() < 3600
        assert broker.depth([shop.NOBODYS])[shop.NOBODYS].ready == 1
    finally:
        broker.close()
