"""A turn that finds nothing waits, and hears at once of whatever it waits for."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.message import Depth, Fate, Outcome, Result
from celeriac.ports import Broker, ResultStore
from celeriac.testing.conformance.rig import (
    A_MOMENT,
    PATIENCE,
    SENDS_EACH_LINE,
    Child,
    Opened,
    acks,
    all_of,
    assert_prompt,
    elsewhere,
    message,
    names,
    no_less_than,
    soon,
    until,
)


class Waiting(Opened):
    """Waits end when they should, and cost nothing until then."""

    def test_a_wait_ends_as_soon_as_another_thread_sends(
        self, broker: Broker, child: Child, threads: ThreadPoolExecutor
    ) -> None:
        def send() -> float:
            time.sleep(A_MOMENT)
            start = time.monotonic()
            broker.publish([message("a")])
            return start

        late = []
        for _ in range(5):
            sent = threads.submit(send)
            claims = child.claim(wait=PATIENCE)
            late.append(time.monotonic() - sent.result())
            assert names(claims) == ["a"]
            child.settle(*acks(claims))
        assert_prompt(late)

    def test_a_wait_ends_as_soon_as_another_process_sends(
        self, child: Child, open_broker: Callable[[], Broker]
    ) -> None:
        self.need_another_process()
        late = []
        with elsewhere(open_broker, SENDS_EACH_LINE) as other:
            for n in range(5):
                other.say(f"{n}")
                claims = child.claim(wait=PATIENCE)
                late.append(time.time() - float(other.hear()))
                assert names(claims) == [f"{n}"]
                child.settle(*acks(claims))
        assert_prompt(late)

    def test_a_wait_ends_for_the_second_of_several_queues(
        self, broker: Broker, hire: Callable[..., Child], threads: ThreadPoolExecutor
    ) -> None:
        waiting = threads.submit(hire(queues=["one", "two", "three"]).claim_names, wait=PATIENCE)
        time.sleep(A_MOMENT)
        with soon():
            broker.publish([message("a", "two", priority=9)])
            assert waiting.result(PATIENCE) == ["a"]

    def test_a_wait_without_a_message_ends_at_its_deadline(self, child: Child) -> None:
        start = time.monotonic()
        assert child.claim(wait=0.2) == []
        assert 0.19 <= time.monotonic() - start < PATIENCE / 2

    def test_what_is_ready_is_claimed_without_waiting(self, child: Child) -> None:
        child.send(message("a"))
        with soon():
            assert child.claim_names(want=5, wait=PATIENCE) == ["a"]

    def test_a_wait_costs_no_processor_time(self, child: Child) -> None:
        child.claim(wait=0.01)
        before = time.process_time()
        child.claim(wait=0.25)
        assert time.process_time() - before < 0.12

    def test_outcomes_are_settled_before_the_wait(
        self, broker: Broker, child: Child, results: ResultStore, threads: ThreadPoolExecutor
    ) -> None:
        child.send(message("a"))
        (claim,) = child.claim()
        outcome = Outcome(claim.number, result=Result("a", b"done"))
        waiting = threads.submit(child.turn, outcome, wait=PATIENCE)
        until(lambda: broker.depth(["celery"])["celery"] == Depth())
        assert results.load(["a"]) == [b"done"]
        assert not waiting.done()
        broker.publish([message("b")])
        assert names(waiting.result(PATIENCE)) == ["b"]

    def test_wake_ends_a_wait_with_nothing(self, child: Child, threads: ThreadPoolExecutor) -> None:
        for _ in range(3):
            waiting = threads.submit(child.claim, wait=PATIENCE)
            time.sleep(A_MOMENT)
            with soon():
                child.broker.wake()
                assert waiting.result(PATIENCE) == []

    def test_wake_before_a_wait_ends_the_next_one_and_only_that(self, child: Child) -> None:
        child.broker.wake()
        child.broker.wake()
        with soon():
            assert child.claim(wait=PATIENCE) == []
        with no_less_than(0.15):
            assert child.claim(wait=0.15) == []

    def test_wake_does_not_hide_what_is_ready(self, child: Child) -> None:
        child.send(message("a"))
        child.broker.wake()
        assert child.claim_names(wait=PATIENCE) == ["a"]

    def test_wake_may_be_called_by_a_signal_handler(self, child: Child, threads: ThreadPoolExecutor) -> None:
        if threading.current_thread() is not threading.main_thread():
            pytest.skip("signals are handled by the main thread, and the tests run in another")

        def interrupt() -> None:
            time.sleep(A_MOMENT)
            os.kill(os.getpid(), signal.SIGUSR1)

        before = signal.signal(signal.SIGUSR1, lambda *_: child.broker.wake())
        try:
            for _ in range(3):
                with soon():
                    sent = threads.submit(interrupt)
                    assert child.claim(wait=PATIENCE) == []
                    sent.result()
        finally:
            signal.signal(signal.SIGUSR1, before)

    def test_one_message_goes_to_one_of_several_that_wait(
        self, broker: Broker, hire: Callable[..., Child], threads: ThreadPoolExecutor
    ) -> None:
        waiting = [threads.submit(hire(f"child {n}").claim_names, wait=0.25) for n in range(4)]
        time.sleep(A_MOMENT)
        broker.publish([message("a")])
        assert sorted(all_of(waiting)) == [[], [], [], ["a"]]

    def test_as_many_messages_as_wait_go_to_all_of_them(
        self, broker: Broker, hire: Callable[..., Child], threads: ThreadPoolExecutor
    ) -> None:
        waiting = [threads.submit(hire(f"child {n}").claim_names, wait=PATIENCE) for n in range(4)]
        time.sleep(A_MOMENT)
        with soon():
            broker.publish([message(name) for name in "abcd"])
            assert sorted(all_of(waiting)) == [["a"], ["b"], ["c"], ["d"]]

    def test_a_waiter_that_gives_up_leaves_no_message_unheard(
        self, broker: Broker, hire: Callable[..., Child], threads: ThreadPoolExecutor
    ) -> None:
        patient = threads.submit(hire("patient").claim_names, wait=PATIENCE)
        impatient = hire("impatient")
        for _ in range(8):
            assert impatient.claim(wait=0.005) == []
        with soon():
            broker.publish([message("a")])
            assert patient.result(PATIENCE) == ["a"]

    @pytest.mark.parametrize("event", ["given back", "lost", "deferred", "follow-up", "replay", "dismiss"])
    def test_a_wait_ends_for_whatever_makes_a_message_ready(
        self, hire: Callable[..., Child], threads: ThreadPoolExecutor, event: str
    ) -> None:
        other = hire("other")
        other.send(message("a"))
        (claim,) = other.claim()
        if event == "replay":
            other.settle(Outcome(claim.number, Fate.DEAD, id="a"))
        events: dict[str, Callable[[], object]] = {
            "given back": lambda: other.settle(Outcome(claim.number, Fate.GIVEN_BACK)),
            "lost": lambda: other.settle(Outcome(claim.number, Fate.LOST)),
            "deferred": lambda: other.settle(Outcome(claim.number, Fate.DEFERRED, eta=time.time() + 0.05)),
            "follow-up": lambda: other.settle(Outcome(claim.number, follow_ups=(message("a"),))),
            "replay": lambda: other.broker.replay(["a"]),
            "dismiss": lambda: other.broker.dismiss("other"),
        }
        waiting = threads.submit(hire("waits").claim_names, wait=PATIENCE)
        time.sleep(A_MOMENT)
        with soon():
            events[event]()
            assert waiting.result(PATIENCE) == ["a"]
