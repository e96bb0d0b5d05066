"""Random workflows whose tasks meet random faults: each ends, its body or its errbacks come once.

A worker of one room in this process, on the memory driver, loses, doubles, revokes tasks as their fates say.
CANVAS_CASES=10000 tries other ones than the 300 of every day, which `make chaos` does.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canvas.test_random import Chain, Chord, Failed, Group, Interpreter, Stage, Step, larger
from celeriac import GroupResult
from celeriac.drivers.memory import store_of
from celeriac.drivers.opening import open_broker
from celeriac.exceptions import Ignore, Reject
from celeriac.message import Claim, Fate, Message, Outcome
from celeriac.wire.task import unpack
from celeriac.worker.execute import Executor

CASES = int(os.environ.get("CANVAS_CASES", "300"))
#: A round finds nothing to do while a retry waits for its moment.
ROUNDS = 10_000

FAULTS = ("ignore", "reject", "revoke", "expire", "kill", "poison", "twice")
fates = st.sampled_from(["ok"] * 14 + ["fail", "retry", "replace", "replace by group", *FAULTS])
trees = st.recursive(st.builds(Step, st.sampled_from("abcdefgh"), fates), larger, max_leaves=12)


class Expected(Interpreter):
    """What the same tree gives by the rules of faults."""

    def step(self, node: Step, before: list[Any]) -> Any:
        match node.fate:
            case "ignore":
                self.ran[node.name] += 1
                return Failed()
            case "reject" | "poison":
                self.ran[node.name] += 1 if node.fate == "reject" else 3
                self.errbacks += 1
                return Failed()
            case "revoke" | "expire":
                return Failed()
            case "kill" | "twice":
                self.ran[node.name] += 1
        return super().step(node, before)


class FaultyStage(Stage):
    """A worker whose claims meet the fate that their arguments name."""

    def __init__(self, url: str | None = None) -> None:
        super().__init__(url)
        self.faults: Counter[str] = Counter()
        self.broker = open_broker(self.url, self.url)
        self.broker.consume(["celery"])
        self.executor = Executor(self.app, "celery@faulty", revoked=self.broker.revoked)
        self.lives = 0

        @self.app.task(name="fare", bind=True)
        def fare(self_: Any, *args: Any) -> Any:
            *before, name, fate = args
            self.ran[name] += 1
            if fate == "ignore":
                raise Ignore
            if fate == "reject":
                raise Reject("no", requeue=False)
            return [*before, name]

        self.fare = fare

    def signature(self, node: Any) -> Any:
        if isinstance(node, Step) and node.fate in FAULTS:
            made = self.fare.s(node.name, node.fate)
            return made.set(expires=datetime(2020, 1, 1, tzinfo=UTC)) if node.fate == "expire" else made
        return super().signature(node)

    def work(self) -> None:
        """Until nothing is left to do."""
        owner, outcomes = self.new_life(), []
        for _ in range(ROUNDS):
            claims = self.turn(owner, outcomes)
            if not claims and self.settled():
                return
            if not claims:
                time.sleep(0.0005)  # a retry is due in a moment
            outcomes = [self.meet(claim) for claim in claims]
        raise AssertionError("it goes on for too long")

    def turn(self, owner: str, outcomes: list[Outcome]) -> list[Claim]:
        return self.broker.turn(owner, outcomes, 5)

    def new_life(self) -> str:
        self.lives += 1
        self.broker.enlist(f"owner{self.lives}", "node", 3600.0)
        return f"owner{self.lives}"

    def meet(self, claim: Claim) -> Outcome:
        message = unpack(claim.payload)
        args = message.arguments(["json"])[0]
        fate = args[-1] if message.name == "fare" else ""
        self.faults[message.id] += 1
        first = self.faults[message.id] == 1
        if first and fate == "revoke":
            self.broker.revoke([message.id], 3600.0)
            return Outcome(claim.number, Fate.GIVEN_BACK)
        if first and fate == "twice":
            self.broker.publish([Message(message.id, claim.queue, claim.payload)])
        job = self.executor.prepare(claim)
        if isinstance(job, Outcome):
            return job
        outcome = job.run()
        if fate == "poison" or (first and fate == "kill"):
            # It dies with its work done and not settled.
            return Outcome(claim.number, Fate.LOST)
        return outcome


def told_apart(node: Any, in_header: bool = False) -> Any:
    """Who comes twice sends what follows twice: that is at-least-once. A member of a chord is counted once,
    so that is where tasks come twice here."""
    if isinstance(node, Step):
        return node if in_header or node.fate != "twice" else replace(node, fate="ok")
    if isinstance(node, Chain):
        return Chain([told_apart(step) for step in node.steps])
    if isinstance(node, Group):
        return Group([told_apart(task) for task in node.tasks])
    return Chord([told_apart(task, in_header=True) for task in node.header], told_apart(node.body))


@pytest.fixture(scope="module")
def stage() -> Iterator[FaultyStage]:
    stage = FaultyStage()
    logging.disable(logging.ERROR)
    with stage.app:
        yield stage
    logging.disable(logging.NOTSET)


def ends_as_expected(stage: FaultyStage, drawn: Any, *, timeout: float) -> None:
    """Play one workflow to its end, and compare that with its interpreter's."""
    expected = Expected()
    result, value = stage.begin(told_apart(drawn), expected)
    stage.work()
    if isinstance(value, Failed):
        leaves = result.results if isinstance(result, GroupResult) else [result]
        assert not all(leaf.successful() for leaf in leaves)
    else:
        assert result.get(timeout=timeout) == value
    stage.ended_like(expected)


@settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize="CANVAS_CASES" not in os.environ,
    database=None,
)
@given(drawn=trees)
def test_a_workflow_among_faults_ends_as_its_interpreter_says(stage: FaultyStage, drawn: Any) -> None:
    ends_as_expected(stage, drawn, timeout=1)
    assert stage.unfinished_chords() == 0
    assert store_of(stage.url).depth("celery").claimed == 0
