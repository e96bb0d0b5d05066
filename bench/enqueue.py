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


def main() -> None:
    with Contest() as contest:

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

        one = alternate([*chosen(), BARE], ROUNDS, one_round)
        at_once = alternate(chosen("celeriac", "taskiq", "saq"), ROUNDS, many)
        report(
            "enqueue",
            "Calling, one process",
            [Figure("one after another", "calls/s", one), Figure("many at once", "calls/s", at_once)],
            redis=contest.redis.version,
            notes=f"{BARE}: the same bytes pushed through a plain socket and hiredis, nothing else. "
            "Many at once: apply_many in celeriac; 20 coroutines in Taskiq and SAQ; the others cannot.",
        )


if __name__ == "__main__":
    main()
