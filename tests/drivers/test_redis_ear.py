"""Who waits alone for a result on Redis reads it itself, and a second one at the same time does not."""

from __future__ import annotations

import threading
from contextlib import closing

from celeriac.drivers import opening
from celeriac.message import Result
from celeriac.waiting import Waiting


def readers() -> int:
    """How many threads read results for others."""
    return sum(thread.name == "celeriac-results" for thread in threading.enumerate())


def test_the_first_who_waits_reads_by_itself_and_the_second_lets_a_thread_read(redis_db: str) -> None:
    with closing(opening.open_results(redis_db)) as store, closing(Waiting(store)) as waiting:
        before = readers()
        store.save([Result("first", b"on its way")])

        def and_then_one_more(task_id: str, payload: bytes) -> tuple[bytes] | None:
            if payload == b"on its way":
                store.save([Result("first", b"done")])
                return None
            assert readers() == before, "it came over the connection of who waits"
            store.save([Result("second", b"done, too")])
            assert waiting.wait(["second"], lambda _, payload: (payload,), 10) == b"done, too"
            assert readers() == before + 1
            return (payload,)

        assert waiting.wait(["first"], and_then_one_more, 10) == b"done"
