"""Parts of a task's stream are numbered, kept for their time and number, and told to those who watch."""

from __future__ import annotations

from celeriac.message import STREAM_MARK
from celeriac.ports import ResultStore
from celeriac.testing.conformance.rig import Opened, Teller, until


class Streams(Opened):
    """What `ResultStore` promises of streams."""

    def test_parts_are_read_in_order_from_any_of_them_on(self, results: ResultStore) -> None:
        results.push("t", 1, [b"a", b"b"], keep=10, ttl=None)
        results.push("t", 3, [b"\x00c"], keep=10, ttl=60.0)
        assert results.parts("t", 0, 10) == [(1, b"a"), (2, b"b"), (3, b"\x00c")]
        assert results.parts("t", 1, 1) == [(2, b"b")]
        assert results.parts("t", 3, 10) == []
        assert results.parts("unknown", 0, 10) == []

    def test_a_part_that_is_pushed_again_stays_what_it_is(self, results: ResultStore) -> None:
        results.push("t", 1, [b"a", b"b"], keep=10, ttl=None)
        results.push("t", 1, [b"other", b"other", b"c"], keep=10, ttl=None)
        results.push("t", 1, [b"late"], keep=10, ttl=None)
        assert results.parts("t", 0, 10) == [(1, b"a"), (2, b"b"), (3, b"c")]
        assert results.load([f"{STREAM_MARK}t"]) == [b"3"]

    def test_only_the_last_parts_are_kept(self, results: ResultStore) -> None:
        for number in range(1, 8):
            results.push("t", number, [b"%d" % number], keep=3, ttl=None)
        assert results.parts("t", 0, 10) == [(5, b"5"), (6, b"6"), (7, b"7")]

    def test_a_stream_goes_away_after_its_time_to_live(self, results: ResultStore) -> None:
        results.push("short", 1, [b"a"], keep=3, ttl=1.0)
        results.push("long", 1, [b"a"], keep=3, ttl=1.0)
        results.push("long", 2, [b"b"], keep=3, ttl=60.0)
        until(lambda: results.load([f"{STREAM_MARK}short"]) == [None])
        assert results.parts("short", 0, 10) == []
        assert results.parts("long", 0, 10) == [(1, b"a"), (2, b"b")]

    def test_a_forgotten_stream_is_gone_and_may_come_again(self, results: ResultStore) -> None:
        results.push("t", 1, [b"a", b"b"], keep=10, ttl=None)
        results.forget([f"{STREAM_MARK}t"])
        assert results.parts("t", 0, 10) == []
        results.push("t", 1, [b"c"], keep=10, ttl=None)
        assert results.parts("t", 0, 10) == [(1, b"c")]

    def test_who_watches_a_stream_is_told_the_number_of_its_last_part(self, results: ResultStore) -> None:
        told = Teller()
        watch = results.watch(told)
        results.push("t", 1, [b"a"], keep=10, ttl=None)
        assert watch.add([f"{STREAM_MARK}t"]) == [b"1"]
        results.push("t", 2, [b"b"], keep=10, ttl=None)
        assert told.next() == (f"{STREAM_MARK}t", b"2")
