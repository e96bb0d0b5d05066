"""How fast does one process call tasks, one after another?"""

from __future__ import annotations

from common.bare import bare_round_trips
from common.contest import Contest, alternate
from common.report import Figure, report
from common.sizes import ROUNDS, chosen, scaled

#: Calls of one round: about half a second for each system.
SIZES = {
    "celeriac": 5_000,
    "celery": 400,
    "huey": 3_000,
    "dramatiq": 1_500,
    "taskiq": 1_500,
    "saq": 1_000,
    "rq": 500,
}
BARE = "bare LPUSH"
#: Seconds that each way takes between the caller and a Redis that is not on his machine.
DELAY = 0.001
#: Who sends in a loop has that many calls over the slow network, a second or so.
SLOW = 200


def main() -> None:
    with Contest() as contest, Contest(delay=DELAY) as away:

        def one_round(name: str) -> float:
            contest.redis.empty()
            if name == BARE:
                return bare_round_trips(contest.redis.port, scaled(5_000))
            client = contest.client(name)
            client.do("enqueue", 20)
            return scaled(SIZES[name]) / client.do("enqueue", scaled(SIZES[name]))

        def many(name: str) -> float:
            contest.redis.empty()
            client = contest.client(name)
            n = scaled(50_000 if name == "celeriac" else SIZES[name])
            client.do("load", n // 50)
            return n / client.do("load", n)

        def far(name: str) -> float:
            away.redis.empty()
            client = away.client(name)
            n = scaled(50_000 if name == "celeriac" else SLOW)
            client.do("load", n // 50)
            return n / client.do("load", n)

        one = alternate([*chosen(), BARE], ROUNDS, one_round)
        at_once = alternate(chosen("celeriac", "celery", "taskiq", "saq"), ROUNDS, many)
        at_once_far = alternate(chosen("celeriac", "celery", "taskiq", "saq"), ROUNDS, far)
        report(
            "enqueue",
            "Calling, one process",
            [
                Figure("one after another", "calls/s", one),
                Figure("many at once", "calls/s", at_once),
                Figure("many at once, 1 ms away", "calls/s", at_once_far),
            ],
            redis=contest.redis.version,
            notes=f"{BARE}: the same bytes pushed through a plain socket and hiredis, nothing else. "
            "Many at once: apply_many in celeriac; 20 coroutines in Taskiq and SAQ; Celery's loop, and the "
            "others have no other way either. 1 ms away: over a proxy that delays each way by so much.",
        )


if __name__ == "__main__":
    main()
