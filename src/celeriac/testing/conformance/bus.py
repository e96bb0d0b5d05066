"""What is said on a bus reaches those who listen, at once and in order; answers find their box."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.exceptions import OperationalError
from celeriac.ports import Bus, Listening
from celeriac.testing.conformance.rig import A_MOMENT, ODD_NAMES, PATIENCE, PROMPT, Opened

#: Seconds that no test outlives.
LONG = 600.0


class BusConformance(Opened):
    """Everything that `Bus` and `Listening` promise."""

    @pytest.fixture
    def open_bus(self) -> Callable[[], Bus]:
        raise NotImplementedError("override the fixture open_bus: a function that opens a connection")

    @pytest.fixture
    def bus(self, open_bus: Callable[[], Bus]) -> Iterator[Bus]:
        bus = open_bus()
        yield bus
        bus.close()

    @pytest.fixture
    def other(self, open_bus: Callable[[], Bus]) -> Iterator[Bus]:
        """A second connection."""
        bus = open_bus()
        yield bus
        bus.close()

    def test_all_who_listen_hear_what_is_said_and_the_speaker_knows_how_many(
        self, bus: Bus, other: Bus
    ) -> None:
        first, second, third = bus.listen(["a"]), bus.listen(["b", "a"]), other.listen(["c"])
        try:
            assert other.say("a", b"to both") == 2
            assert bus.say("c", b"to one") == 1
            assert heard(first) == [("a", b"to both")]
            assert heard(second) == [("a", b"to both")]
            assert heard(third) == [("c", b"to one")]
        finally:
            for one in (first, second, third):
                one.close()

    def test_where_nobody_listens_nothing_is_kept(self, bus: Bus) -> None:
        assert bus.say("a", b"unheard") == 0
        late = bus.listen(["a"])
        assert late.hear() == []
        late.close()
        assert bus.say("a", b"unheard") == 0

    def test_a_star_at_the_end_stands_for_any_rest(self, bus: Bus) -> None:
        everything, workers = bus.listen(["ev/*"]), bus.listen(["ev/worker.*"])
        for topic in ("ev/worker.online", "ev/task.multi", "other/worker.online"):
            bus.say(topic, topic.encode())
        assert heard(everything, 2) == [
            ("ev/worker.online", b"ev/worker.online"),
            ("ev/task.multi", b"ev/task.multi"),
        ]
        assert heard(workers) == [("ev/worker.online", b"ev/worker.online")]
        everything.close()
        workers.close()

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_any_text_may_be_a_topic(self, bus: Bus, name: str) -> None:
        topic = name.replace("*", "") + "/x.y"
        listening = bus.listen([topic])
        assert bus.say(topic, b"1") == 1
        assert heard(listening) == [(topic, b"1")]
        listening.close()

    def test_words_come_in_their_order_and_whole(self, bus: Bus, other: Bus) -> None:
        listening = bus.listen(["a"])
        words = [bytes([n % 256]) * (n * 100) for n in range(300)]
        for word in words:
            other.say("a", word)
        assert [payload for _, payload in heard(listening, 300)] == words
        listening.close()

    def test_who_waits_hears_at_once(self, bus: Bus, other: Bus, threads: ThreadPoolExecutor) -> None:
        listening = bus.listen(["a"])

        def wait() -> float:
            assert listening.hear(PATIENCE) == [("a", b"now")]
            return time.monotonic()

        # The best of three: a busy machine may hold up one of them.
        delays = []
        for _ in range(3):
            waiting = threads.submit(wait)
            time.sleep(A_MOMENT)
            said = time.monotonic()
            other.say("a", b"now")
            delays.append(waiting.result(PATIENCE) - said)
        assert min(delays) < PROMPT
        listening.close()

    def test_a_wait_ends_in_time(self, bus: Bus) -> None:
        listening, box = bus.listen(["a"]), bus.open_box("k.answers")
        for one in (listening, box):
            began = time.monotonic()
            assert one.hear(0.05) == []
            assert 0.04 <= time.monotonic() - began < PATIENCE / 2
            one.close()

    def test_it_may_be_polled(self, bus: Bus, other: Bus) -> None:
        listening = bus.listen(["a"])
        number = listening.fileno()
        if number is not None:
            assert select.select([number], [], [], 0)[0] == []
            other.say("a", b"1")
            assert select.select([number], [], [], PATIENCE)[0] == [number]
            assert heard(listening) == [("a", b"1")]
            assert select.select([number], [], [], 0)[0] == []
        listening.close()

    def test_answers_lie_in_the_box_of_their_name(self, bus: Bus, other: Bus) -> None:
        mine, yours = bus.open_box("mine.answers"), bus.open_box("yours.answers")
        for n in range(5):
            other.answer("mine.answers", b"m%d" % n, LONG)
        other.answer("yours.answers", b"y", LONG)
        assert heard(mine, 5) == [("mine.answers", b"m%d" % n) for n in range(5)]
        assert heard(yours) == [("yours.answers", b"y")]
        assert mine.hear() == []
        mine.close()
        yours.close()

    def test_many_answers_at_a_time(self, bus: Bus, other: Bus, threads: ThreadPoolExecutor) -> None:
        box = bus.open_box("many.answers")
        for _ in threads.map(lambda n: other.answer("many.answers", b"%d" % n, LONG), range(300)):
            pass
        assert sorted(int(payload) for _, payload in heard(box, 300)) == list(range(300))
        box.close()

    def test_an_answer_whose_owner_has_gone_goes_too(self, bus: Bus) -> None:
        bus.answer("nobody.answers", b"1", 0.01)
        box = bus.open_box("gone.answers")
        bus.answer("gone.answers", b"2", LONG)
        box.close()
        time.sleep(0.05)
        for name in ("nobody.answers", "gone.answers"):
            again = bus.open_box(name)
            assert again.hear() == []
            again.close()

    def test_one_who_closed_hears_nothing_and_may_close_again(self, bus: Bus) -> None:
        listening = bus.listen(["a"])
        listening.close()
        listening.close()
        assert bus.say("a", b"1") == 0

    def test_a_closed_bus_says_so(self, open_bus: Callable[[], Bus]) -> None:
        bus = open_bus()
        bus.close()
        bus.close()
        with pytest.raises(OperationalError):
            bus.say("a", b"")
        with pytest.raises(OperationalError):
            bus.listen(["a"])


def heard(listening: Listening, n: int = 1) -> list[tuple[str, bytes]]:
    """The first n words that come."""
    words: list[tuple[str, bytes]] = []
    deadline = time.monotonic() + PATIENCE
    while len(words) < n:
        assert time.monotonic() < deadline, f"heard {len(words)} of {n}"
        words += listening.hear(0.2)
    return words
