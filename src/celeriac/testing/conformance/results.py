"""Results are saved, loaded, kept for their time and told to those who watch."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.exceptions import OperationalError
from celeriac.message import Result
from celeriac.ports import ResultStore, Watch
from celeriac.testing.conformance.rig import (
    ODD_NAMES,
    PATIENCE,
    SAVES_EACH_LINE,
    Teller,
    all_of,
    assert_prompt,
    elsewhere,
    soon,
    until,
)
from celeriac.testing.conformance.streaming import Streams


class ResultConformance(Streams):
    """Everything that `ResultStore` and `Watch` promise."""

    def test_what_was_saved_is_loaded_in_the_order_asked(self, results: ResultStore) -> None:
        results.save([Result("a", b"of a"), Result("b", b"of b")])
        results.save([Result("c", b"of c")])
        assert results.load(["c", "unknown", "a", "b", "a"]) == [b"of c", None, b"of a", b"of b", b"of a"]

    def test_saving_and_loading_nothing_is_fine(self, results: ResultStore) -> None:
        results.save([])
        results.forget([])
        assert results.load([]) == []
        watch = results.watch(Teller())
        assert watch.add([]) == []
        watch.discard([])

    def test_a_later_result_takes_the_place_of_an_earlier(self, results: ResultStore) -> None:
        results.save([Result("a", b"STARTED", ttl=0.05), Result("a", b"SUCCESS")])
        assert results.load(["a"]) == [b"SUCCESS"]
        results.save([Result("a", b"FAILURE")])
        time.sleep(0.1)
        assert results.load(["a"]) == [b"FAILURE"]

    def test_an_update_takes_the_place_of_what_shall_not_be_kept(self, results: ResultStore) -> None:
        teller = Teller()
        results.watch(teller).add(["a", "b"])
        for state in (b"one", b'{"status": "STARTED", "result": 1}', b'{"status": "HALF"}', b"two"):
            assert results.update(Result("a", state), keep=lambda stored: False)
            assert teller.next() == ("a", state)
        end = b'{"status": "SUCCESS", "result": 1}'
        results.save([Result("a", end), Result("b", b"another end")])
        for id, stored in (("a", end), ("b", b"another end")):
            assert not results.update(Result(id, b"late"), keep=stored.__eq__)
            assert results.load([id]) == [stored]
        assert sorted(teller.take(2)) == [("a", end), ("b", b"another end")]
        assert teller.is_silent()
        assert results.update(Result("a", b"for short", ttl=0.05), keep=lambda stored: False)
        until(lambda: results.load(["a"]) == [None])

    def test_an_update_and_an_end_may_race_and_the_end_stays(
        self, results: ResultStore, open_results: Callable[[], ResultStore], threads: ThreadPoolExecutor
    ) -> None:
        other, start = open_results(), threading.Barrier(2)

        def update(n: int) -> None:
            start.wait(PATIENCE)
            results.update(Result(f"{n}", b"on the way"), keep=lambda stored: stored == b"end")

        def end(n: int) -> None:
            start.wait(PATIENCE)
            other.save([Result(f"{n}", b"end")])

        for n in range(50):
            all_of([threads.submit(update, n), threads.submit(end, n)])
        assert results.load([f"{n}" for n in range(50)]) == [b"end"] * 50
        other.close()

    def test_a_result_goes_away_after_its_time_to_live(self, results: ResultStore) -> None:
        results.save([Result("short", b"x", ttl=0.3), Result("long", b"y", ttl=3600.0), Result("ever", b"z")])
        assert results.load(["short"]) == [b"x"]
        until(lambda: results.load(["short"]) == [None])
        assert results.load(["long", "ever"]) == [b"y", b"z"]

    def test_a_forgotten_result_is_gone_and_may_come_again(self, results: ResultStore) -> None:
        results.save([Result("a", b"1"), Result("b", b"2")])
        results.forget(["a", "never stored"])
        assert results.load(["a", "b"]) == [None, b"2"]
        results.save([Result("a", b"3")])
        assert results.load(["a"]) == [b"3"]

    def test_two_connections_see_one_store(
        self, results: ResultStore, open_results: Callable[[], ResultStore]
    ) -> None:
        other = open_results()
        other.save([Result("a", b"1")])
        other.close()
        assert results.load(["a"]) == [b"1"]

    def test_ids_may_be_odd_and_payloads_any_bytes(self, results: ResultStore) -> None:
        teller = Teller()
        results.watch(teller).add(ODD_NAMES)
        for odd in ODD_NAMES:
            payload = odd.encode() + bytes(range(256))
            results.save([Result(odd, payload)])
            assert teller.next() == (odd, payload)
            assert results.load([odd]) == [payload]

    def test_a_large_result_is_carried_and_told(self, results: ResultStore) -> None:
        payload = os.urandom(1 << 20) * 8
        teller = Teller()
        results.watch(teller).add(["large"])
        results.save([Result("large", payload)])
        assert teller.next() == ("large", payload)
        assert results.load(["large"]) == [payload]

    def test_a_watch_is_told_once_of_a_result_that_it_asked_for(
        self, results: ResultStore, open_results: Callable[[], ResultStore]
    ) -> None:
        teller, saver = Teller(), open_results()
        assert results.watch(teller).add(["a", "b"]) == [None, None]
        saver.save([Result("other", b"no"), Result("a", b"1")])
        assert teller.next() == ("a", b"1")
        saver.save([Result("b", b"2")])
        assert teller.next() == ("b", b"2")
        assert teller.is_silent()
        assert threading.get_ident() not in teller.threads
        saver.close()

    def test_a_watch_is_told_at_once(self, results: ResultStore) -> None:
        teller = Teller()
        watch = results.watch(teller)
        late = []
        for n in range(5):
            watch.add([f"{n}"])
            start = time.monotonic()
            results.save([Result(f"{n}", b"x")])
            teller.next()
            late.append(time.monotonic() - start)
        assert_prompt(late)

    def test_adding_gives_what_is_there_already(self, results: ResultStore) -> None:
        teller = Teller()
        watch = results.watch(teller)
        results.save([Result("a", b"1"), Result("c", b"3")])
        assert watch.add(["a", "b", "c"]) == [b"1", None, b"3"]
        assert teller.is_silent()

    def test_each_new_state_of_a_result_is_told(self, results: ResultStore) -> None:
        teller = Teller()
        results.watch(teller).add(["a"])
        for state in (b"STARTED", b"RETRY", b"SUCCESS"):
            results.save([Result("a", state)])
            assert teller.next() == ("a", state)

    def test_what_was_discarded_is_told_no_more(self, results: ResultStore) -> None:
        teller = Teller()
        watch = results.watch(teller)
        watch.add(["a", "b"])
        watch.discard(["a", "never added"])
        results.save([Result("a", b"1")])
        results.save([Result("b", b"2")])
        assert teller.next() == ("b", b"2")
        assert teller.is_silent()
        assert watch.add(["a"]) == [b"1"]

    def test_two_watches_of_one_id_are_both_told(self, results: ResultStore) -> None:
        tellers = [Teller(), Teller()]
        watches = [results.watch(teller) for teller in tellers]
        for watch in watches:
            watch.add(["a"])
        results.save([Result("a", b"1")])
        assert [teller.next() for teller in tellers] == [("a", b"1")] * 2
        watches[0].close()
        results.save([Result("a", b"2")])
        assert tellers[1].next() == ("a", b"2")
        assert tellers[0].is_silent()

    def test_two_discards_of_one_id_leave_the_other_watch_alone(self, results: ResultStore) -> None:
        tellers = [Teller(), Teller()]
        watches = [results.watch(teller) for teller in tellers]
        for watch in watches:
            watch.add(["a"])
        watches[0].discard(["a"])
        watches[0].discard(["a"])
        results.save([Result("a", b"1")])
        assert tellers[1].next() == ("a", b"1")
        assert tellers[0].is_silent()

    def test_hundreds_of_ids_are_told_once_each(self, results: ResultStore) -> None:
        teller = Teller()
        ids = [f"id {n}" for n in range(500)]
        watch = results.watch(teller)
        assert watch.add(ids) == [None] * 500
        for at in range(0, 500, 50):
            results.save([Result(task_id, task_id.encode()) for task_id in ids[at : at + 50]])
        assert sorted(teller.take(500)) == sorted((task_id, task_id.encode()) for task_id in ids)
        assert teller.is_silent()

    def test_no_result_is_missed_when_saving_and_adding_race(
        self, open_results: Callable[[], ResultStore], threads: ThreadPoolExecutor
    ) -> None:
        savers, watchers = [open_results() for _ in range(4)], [open_results() for _ in range(4)]
        rounds = range(25)
        start = threading.Barrier(8)

        def save(which: int) -> None:
            start.wait(PATIENCE)
            for n in rounds:
                savers[which].save([Result(f"{which}:{n}", b"x")])

        def add(which: int) -> None:
            teller, found = Teller(), set()
            watch: Watch = watchers[which].watch(teller)
            start.wait(PATIENCE)
            for n in rounds:
                if watch.add([f"{which}:{n}"]) == [b"x"]:
                    found.add(f"{which}:{n}")
            while len(found) < len(rounds):
                found.add(teller.next()[0])

        all_of([threads.submit(work, which) for which in range(4) for work in (save, add)])
        for store in savers + watchers:
            store.close()

    def test_a_store_may_be_used_by_several_threads(
        self, results: ResultStore, threads: ThreadPoolExecutor
    ) -> None:
        def work(which: int) -> None:
            for n in range(20):
                name = f"{which}:{n}"
                results.save([Result(name, name.encode())])
                assert results.load([name]) == [name.encode()]

        all_of(threads.submit(work, which) for which in range(8))

    def test_a_watch_is_told_of_what_another_process_saves(
        self, results: ResultStore, open_results: Callable[[], ResultStore]
    ) -> None:
        self.need_another_process()
        teller = Teller()
        watch = results.watch(teller)
        late = []
        with elsewhere(open_results, SAVES_EACH_LINE) as other:
            for n in range(5):
                watch.add([f"{n}"])
                other.say(f"{n}")
                assert teller.next() == (f"{n}", f"{n}".encode())
                late.append(time.time() - float(other.hear()))
        assert_prompt(late)

    def test_a_watch_may_be_closed_by_what_it_tells(self, results: ResultStore) -> None:
        closed = threading.Event()

        def told(_: str, __: bytes) -> None:
            watch.close()
            closed.set()

        watch = results.watch(told)
        watch.add(["a"])
        results.save([Result("a", b"1")])
        assert closed.wait(PATIENCE)
        watch.close()

    def test_a_closed_watch_tells_nothing_and_may_be_closed_again(self, results: ResultStore) -> None:
        teller = Teller()
        watch = results.watch(teller)
        watch.add(["a"])
        watch.close()
        watch.close()
        results.save([Result("a", b"1")])
        assert teller.is_silent()

    def test_a_closed_store_says_so_and_may_be_closed_again(self, results: ResultStore) -> None:
        results.watch(Teller()).add(["a"])
        results.close()
        results.close()
        calls: list[Callable[[], object]] = [
            lambda: results.save([Result("a", b"1")]),
            lambda: results.update(Result("a", b"1"), keep=lambda stored: False),
            lambda: results.load(["a"]),
            lambda: results.forget(["a"]),
            lambda: results.watch(Teller()).add(["a"]),
        ]
        for call in calls:
            with pytest.raises(OperationalError), soon():
                call()
