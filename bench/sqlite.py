"""How fast is the embedded store, with no server at all?"""

from __future__ import annotations

import sqlite3
import time
from contextlib import ExitStack
from pathlib import Path

from common.contest import Contest, alternate
from common.report import Figure, report
from common.sizes import ROUNDS, scaled

#: name of the row -> (system, address of its store).
ROWS = {
    "celeriac": ("celeriac", "sqlite:///{folder}/celeriac.db"),
    "celeriac, synchronous=full": ("celeriac", "sqlite:///{folder}/celeriac.db?synchronous=full"),
    "huey": ("huey", "sqlite:///{folder}/huey.db"),
}
BARE = "bare SQLite"
ENQUEUED = {"celeriac": 2_000, "huey": 1_000}
DRAINED = {"celeriac": 10_000, "huey": 1_500}


def main() -> None:
    with ExitStack() as running:
        contests = {
            row: running.enter_context(Contest(broker=broker, results=True))
            for row, (_, broker) in ROWS.items()
        }

        def enqueue(row: str) -> float:
            if row == BARE:
                return bare_writes(next(iter(contests.values())).folder / "bare.db", scaled(3_000))
            name, _ = ROWS[row]
            client = contests[row].client(name)
            client.do("enqueue", 20)
            n = scaled(ENQUEUED[name])
            return n / client.do("enqueue", n)

        def drain(row: str) -> float:
            name, _ = ROWS[row]
            contest = contests[row]
            ledger = contest.ledger(name)
            with contest.worker(name) as worker:
                # What the other question left has to be out of the way first.
                settle(ledger, worker)
                worker.pause()
                before = ledger.length
                n = scaled(DRAINED[name])
                contest.client(name).do("load", n)
                worker.resume()
                # Huey looks only now and then: its clock starts when it has found the first ones.
                began = ledger.wait_for(before + n // 10, worker)
                counted = ledger.length - before
                ended = ledger.wait_for(before + n, worker)
            return (n - counted) / (ended - began)

        calls = alternate([*ROWS, BARE], ROUNDS, enqueue)
        drains = alternate(list(ROWS), ROUNDS, drain)
        report(
            "sqlite",
            "On SQLite, results on, two worker processes",
            [Figure("one after another", "calls/s", calls), Figure("drain", "tasks/s", drains)],
            notes=f"{BARE}: rows inserted one by one in transactions of their own, WAL, synchronous=normal.",
        )


def settle(ledger, worker) -> None:
    """Wait until nothing more comes."""
    quiet_since, length = time.monotonic(), ledger.length
    while time.monotonic() - quiet_since < 1.0 or not length:
        worker.alive()
        time.sleep(0.05)
        if ledger.length != length:
            quiet_since, length = time.monotonic(), ledger.length


def bare_writes(path: Path, n: int) -> float:
    """Transactions a second of a plain loop."""
    path.unlink(missing_ok=True)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("CREATE TABLE message (number INTEGER PRIMARY KEY, payload BLOB)")
    payload = b"x" * 780
    began = time.perf_counter()
    for _ in range(n):
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO message (payload) VALUES (?)", (payload,))
        db.execute("COMMIT")
    seconds = time.perf_counter() - began
    db.close()
    return n / seconds


if __name__ == "__main__":
    main()
