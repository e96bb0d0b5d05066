"""Random workflows give what a plain interpreter of the same tree gives, each task as often as it says."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celeriac import Celery, chain, chord, group
from celeriac.drivers.memory import store_of
from celeriac.testing.worker import start_worker

WAIT = 20.0


# --- the tree ---------------------------------------------------------------------------------------------


@dataclass
class Step:
    name: str
    fate: str


@dataclass
class Chain:
    steps: list[Any]


class Joined(Chain):
    """What was joined by `|`, or by sending: a group of one that comes first stays a group."""


@dataclass
class Group:
    tasks: list[Any]


@dataclass
class Chord:
    header: list[Any]
    body: Any


fates = st.sampled_from(["ok"] * 8 + ["fail", "retry", "replace", "replace by group"])
steps = st.builds(Step, st.sampled_from("abcdefgh"), fates)


def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(st.builds(Chain, several), st.builds(Group, several), st.builds(Chord, several, inner))


trees = st.recursive(steps, larger, max_leaves=12)


# --- the plain interpreter --------------------------------------------------------------------------------


class Failed:
    """There is no value."""


@dataclass
class Interpreter:
    """What a tree gives, with what runs (and how often) and how many errbacks are called on the way."""

    ran: Counter[str] = field(default_factory=Counter)
    errbacks: int = 0
    #: Errbacks that may be called beside those: where a group that is a chord's body becomes a header by what
    #: follows it, its tasks have been given errbacks of their own.
    perhaps: int = 0

    def heard(self, errbacks: int) -> bool:
        """So many calls of errbacks are right."""
        return self.errbacks <= errbacks <= self.errbacks + self.perhaps

    def value(self, node: Any, before: list[Any]) -> Any:
        if isinstance(node, Step):
            return self.step(node, before)
        if isinstance(node, Chain):
            return self.chain(flat_steps(node), before)
        if isinstance(node, Group):
            values = [self.value(task, before) for task in flat_tasks(node.tasks)]
            return Failed() if any(isinstance(value, Failed) for value in values) else values
        return self.chord(node, before)

    def chain(self, steps: list[Any], before: list[Any]) -> Any:
        value: Any = Failed()
        for position, step in enumerate(steps):
            is_last = position == len(steps) - 1
            if isinstance(step, Group) and not is_last:
                # All of them must be through before the next: a chord, whose body is what follows.
                return self.chord(Chord(step.tasks, Chain(steps[position + 1 :])), before)
            if isinstance(step, Chord) and not is_last:
                # What follows a chord belongs to its body.
                return self.chord(Chord(step.header, Joined([step.body, *steps[position + 1 :]])), before)
            value = self.value(step, before)
            if isinstance(value, Failed):
                return value
            before = [value]
        return value

    def chord(self, node: Chord, before: list[Any]) -> Any:
        errbacks = self.errbacks
        values = self.value(Group(node.header), before)
        # Its own errbacks are those of the body.
        self.perhaps += self.errbacks - errbacks
        self.errbacks = errbacks
        if isinstance(values, Failed):
            self.errbacks += heads(node.body)
            return values
        return self.value(node.body, [values])

    def step(self, node: Step, before: list[Any]) -> Any:
        self.ran[node.name] += 3 if node.fate == "retry" else 1
        if node.fate == "fail":
            self.errbacks += 1
            return Failed()
        value = [*before, node.name]
        if node.fate == "replace":
            return [value, "replaced"]
        if node.fate == "replace by group":
            return [[value, "one"], [value, "two"]]
        return value


def heads(node: Any) -> int:
    """How many tasks would begin it: so many hear that it never runs."""
    if isinstance(node, Step):
        return 1
    if isinstance(node, Chain):
        first, *rest = flat_steps(node)
        if rest and isinstance(first, Chord) and not isinstance(rest[0], Group):
            return heads(Chain([Chord(first.header, Joined([first.body, rest[0]])), *rest[1:]]))
        return heads(Chain(rest)) if rest and isinstance(first, Group) else heads(first)
    if isinstance(node, Group):
        return sum(heads(task) for task in flat_tasks(node.tasks))
    return heads(node.body)


def flat_steps(node: Chain) -> list[Any]:
    found: list[Any] = []
    for position, step in enumerate(node.steps):
        kept = isinstance(node, Joined) and position == 0
        only = step if kept else unrolled(step)
        found += flat_steps(only) if isinstance(only, Chain) else [only]
    return found


def flat_tasks(tasks: list[Any]) -> list[Any]:
    found: list[Any] = []
    for task in tasks:
        only = task
        while isinstance(only, Chain) and len(only.steps) == 1:
            only = only.steps[0]
        found += flat_tasks(only.tasks) if isinstance(only, Group) else [only]
    return found


def unrolled(step: Any) -> Any:
    """A group of one in a chain is that one."""
    while isinstance(step, Group) and len(step.tasks) == 1:
        step = step.tasks[0]
    return step


# --- the same in truth ------------------------------------------------------------------------------------


class Stage:
    def __init__(self, url: str | None = None) -> None:
        self.url = url or f"memory://{uuid4().hex}"
        self.app = app = Celery("random", broker=self.url, backend=self.url, set_as_current=False)
        self.ran: Counter[str] = Counter()
        self.errbacks = 0
        self.lock = threading.Lock()

        @app.task(name="tell", bind=True, max_retries=5)
        def tell(self_: Any, *args: Any) -> Any:
            *before, name, fate = args
            with self.lock:
                self.ran[name] += 1
            value = [*before, name]
            if fate == "fail":
                raise KeyError(name)
            if fate == "retry" and self_.request.retries < 2:
                raise self_.retry(countdown=0)
            if fate == "replace":
                raise self_.replace(same.s(value, "replaced"))
            if fate == "replace by group":
                raise self_.replace(group(same.s(value, "one"), same.s(value, "two")))
            return value

        @app.task(name="same")
        def same(*args: Any) -> list[Any]:
            return list(args)

        @app.task(name="hear")
        def hear(request: Any, error: BaseException, traceback: Any) -> None:
            with self.lock:
                self.errbacks += 1

        self.tell, self.hear = tell, hear

    def signature(self, node: Any) -> Any:
        if isinstance(node, Step):
            return self.tell.s(node.name, node.fate)
        if isinstance(node, Chain):
            return chain([self.signature(step) for step in node.steps])
        if isinstance(node, Group):
            return group([self.signature(task) for task in node.tasks])
        return chord([self.signature(task) for task in node.header], self.signature(node.body))

    def begin(self, tree: Any, expected: Interpreter) -> tuple[Any, Any]:
        """Send a workflow; gives its result, and what it shall be."""
        value = expected.value(tree, [])
        self.ran.clear()
        self.errbacks = 0
        signature = self.signature(tree)
        signature.link_error(self.hear.s())
        return signature.apply_async(), value

    def ended_like(self, expected: Interpreter) -> None:
        assert self.ran == expected.ran
        assert expected.heard(self.errbacks)

    def settled(self) -> bool:
        store = store_of(self.url)
        with store.lock:
            depth = store.depth("celery")
        return depth.ready + depth.delayed + depth.claimed == 0

    def unfinished_chords(self) -> int:
        return store_of(self.url).chords.unfinished()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    with stage.app, start_worker(stage.app, concurrency=2):
        yield stage


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(tree=trees)
def test_a_workflow_gives_what_its_interpreter_gives(stage: Stage, tree: Any) -> None:
    expected = Interpreter()
    result, value = stage.begin(tree, expected)
    if isinstance(value, Failed):
        with pytest.raises(Exception):  # noqa: B017 - of the member, or the chord's
            result.get(timeout=WAIT)
    else:
        assert result.get(timeout=WAIT) == value
    until(stage.settled)
    stage.ended_like(expected)
    assert stage.unfinished_chords() == 0


def until(holds: Callable[[], bool]) -> None:
    moment = threading.Event()
    for _ in range(2000):
        if holds():
            return
        moment.wait(0.005)
    raise AssertionError("it goes on for too long")
