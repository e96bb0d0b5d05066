"""Random workflows over a wire to Redis that breaks, and of producers that send a part: each ends, once.

As test_faults.py, but with a true Redis behind a proxy. CANVAS_CASES=10000 tries a tenth as many other ones.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canvas.test_faults import ROUNDS, Expected, FaultyStage, ends_as_expected, told_apart
from canvas.test_random import Step, larger
from celeriac.canvas.publishing import message_of
from celeriac.drivers import counting
from celeriac.drivers.opening import open_broker
from celeriac.exceptions import OperationalError
from celeriac.message import Claim, Message, Outcome
from celeriac.wire.task import unpack
from proxy import Cut, Proxy
from services import RedisServer

CASES = int(os.environ.get("CANVAS_CASES", "300")) // 10

RARE = ["fail", "retry", "replace", "replace by group", "twice", "poison"]
fates = st.sampled_from(["ok"] * 8 + ["cut"] * 4 + RARE)
trees = st.recursive(st.builds(Step, st.sampled_from("abcdefgh"), fates), larger, max_leaves=12)


class BrokenStage(FaultyStage):
    """Its worker and its producer reach Redis through a proxy, which cuts where a task's fate says so."""

    def __init__(self, proxy: Proxy, direct: str) -> None:
        super().__init__(proxy.url)
        self.proxy = proxy
        self.eyes: Any = open_broker(direct, direct)

    def new_life(self) -> str:
        # Of several cuts that were asked for one may be left from the case before.
        with suppress(OperationalError):
            return super().new_life()
        return self.new_life()

    def turn(self, owner: str, outcomes: list[Outcome]) -> list[Claim]:
        for _ in range(ROUNDS):
            try:
                return self.broker.turn(owner, outcomes, 5)
            except OperationalError:
                time.sleep(0.001)
        raise AssertionError("the wire does not heal")

    def meet(self, claim: Claim) -> Outcome:
        message = unpack(claim.payload)
        args = message.arguments(["json"])[0]
        if args and args[-1] == "cut" and not self.faults[message.id]:
            self.proxy.break_at(list(Cut)[ord(args[-2]) % len(Cut)], b"EVALSHA")
        return super().meet(claim)

    def settled(self) -> bool:
        depth = self.eyes.depth(["celery"])["celery"]
        return bool(depth.ready + depth.delayed + depth.claimed == 0)

    def left_of_chords(self) -> list[bytes]:
        patterns = ("celery-taskset-meta-*", "celeriac:headers")
        keys = [key for pattern in patterns for key in self.eyes._operate("KEYS", pattern)]
        return [key for key in keys if not key.endswith(b".c")]

    def send_a_part(self, signature: Any, part: int) -> None:
        """The first messages, a pair at a time, by a producer that ends there."""
        messages = [message_of(self.app, call) for call in signature.prepare().calls]

        def pairs() -> Iterator[list[Message]]:
            sent = messages[:part]
            yield from (sent[n : n + 2] for n in range(0, len(sent), 2))
            if part < len(messages):
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            self.broker.publish_all(pairs())


@pytest.fixture(scope="module")
def stage(module_redis: RedisServer) -> Iterator[BrokenStage]:
    logging.disable(logging.ERROR)
    with Proxy(int(module_redis.url.split(":")[2].split("/")[0])) as proxy:
        stage = BrokenStage(proxy, module_redis.url)
        with stage.app:
            yield stage
        stage.broker.close()
        stage.eyes.close()
    assert stage.proxy.cuts
    logging.disable(logging.NOTSET)


once = settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize="CANVAS_CASES" not in os.environ,
    database=None,
)


@once
@given(drawn=trees)
def test_a_workflow_over_a_wire_that_breaks_ends_as_its_interpreter_says(
    stage: BrokenStage, drawn: Any
) -> None:
    ends_as_expected(stage, drawn, timeout=10)
    assert stage.left_of_chords() == []


@once
@given(drawn=trees, part=st.integers(1, 6))
def test_a_workflow_of_which_a_producer_sent_a_part_leaves_no_chord_that_waits(
    stage: BrokenStage, drawn: Any, part: int
) -> None:
    tree = told_apart(drawn)
    expected = Expected()
    expected.value(tree, [])
    stage.ran.clear()
    stage.errbacks = 0
    signature = stage.signature(tree)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "PATIENCE", 0.001)
        stage.send_a_part(signature, part)
        stage.work()
        for _ in range(ROUNDS):
            if stage.left_of_chords() == []:
                break
            stage.broker.beat("another", 3600.0)
            stage.work()
    assert stage.left_of_chords() == []
    assert stage.ran <= expected.ran
