"""What does one message cost where 200 children in 50 workers stand idle, and how soon does it start?"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from statistics import median, quantiles

from common.contest import Contest
from common.report import Figure, report
from common.sizes import scaled
from common.watching import Monitor

from celeriac.drivers.redis import scripts

WORKERS, CHILDREN = 50, 4
#: Messages whose requests are counted, and messages that are timed: p99 of a hundred would be the worst one.
COUNTED, TIMED = 100, 500
#: Seconds between two messages.
PAUSE = 0.01
SENDERS = {"our client": "celeriac", "stock Celery client": "celery_to_celeriac"}


def main() -> None:
    with ExitStack() as running:
        contest = running.enter_context(Contest())
        fleet = [running.enter_context(contest.worker("celeriac", CHILDREN)) for _ in range(scaled(WORKERS))]
        contest.warm_up("celeriac", fleet[-1], 200)
        wait_until_idle(contest)
        found = {sender: measure(contest, module) for sender, module in SENDERS.items()}
        report(
            "fleet",
            f"{len(fleet) * CHILDREN} children in {len(fleet)} workers, 1 message in {PAUSE * 1000:.0f} ms",
            [
                Figure("turns a message", "", {s: [f[0]] for s, f in found.items()}, more=False),
                Figure("requests a message", "", {s: [f[1]] for s, f in found.items()}, more=False),
                Figure("start p50", "ms", {s: [f[2]] for s, f in found.items()}, more=False),
                Figure("start p99", "ms", {s: [f[3]] for s, f in found.items()}, more=False),
            ],
            redis=contest.redis.version,
        )


def wait_until_idle(contest: Contest) -> None:
    """Until no child has anything to say for a while."""
    time.sleep(3.0)


def measure(contest: Contest, module: str) -> tuple[float, float, float, float]:
    """(turns, requests, p50 and p99 of the start in ms) for messages sent by this module's `stamp`."""
    contest.ledger("celeriac").clear()
    client = contest.client(module, ledger_of="celeriac")
    client.ask("start_latencies", 3, PAUSE)
    # Not while MONITOR listens: it makes Redis write each request again, to a reader on the same two cores.
    seconds = client.ask("start_latencies", scaled(TIMED), PAUSE)
    monitor = Monitor(contest.redis.port)
    n = scaled(COUNTED)
    watching = threading.Thread(target=monitor.run)
    watching.start()
    client.ask("start_latencies", n, PAUSE)
    time.sleep(0.2)
    monitor.stop()
    watching.join()
    turns = monitor.count(scripts.TURN.digest)
    return turns / n, monitor.requests / n, 1000 * median(seconds), 1000 * quantiles(seconds, n=100)[98]


if __name__ == "__main__":
    main()
