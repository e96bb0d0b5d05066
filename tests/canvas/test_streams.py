"""Tasks that tell while they run: parts of a stream, and how far they are, on every store and both loops."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from celeriac import Celery, group
from celeriac.bars import ashow, show
from celeriac.exceptions import ImproperlyConfigured, IncompleteStream, TimeoutError
from celeriac.testing.worker import start_worker
from celeriac.updates import Progress

WAIT = 15.0


class Stage:
    """An app with tasks that yield, and a worker that runs them in this process."""

    def __init__(self, url: str) -> None:
        self.app = app = Celery("streams", broker=url, backend=url, set_as_current=False)
        self.gate = gate = threading.Event()
        self.starts: list[int] = []

        @app.task(name="count")
        def count(n: int) -> Iterator[int]:
            yield from range(n)
            return n * 100

        @app.task(name="words")
        async def words(text: str) -> AsyncIterator[str]:
            for word in text.split():
                await asyncio.sleep(0)
                yield word

        @app.task(name="held")
        def held(n: int) -> Iterator[int]:
            for number in range(n):
                yield number
                assert gate.wait(WAIT)

        @app.task(name="breaks")
        def breaks() -> Iterator[str]:
            yield "before"
            raise ValueError("broken off")

        @app.task(name="again", bind=True, max_retries=3)
        def again(self_: Any) -> Iterator[str]:
            self.starts.append(self_.streamed())
            yield "one"
            yield "two"
            if self_.request.retries < 1:
                raise self_.retry(countdown=0)
            yield "three"

        @app.task(name="short", stream_buffer=3)
        def short(n: int) -> Iterator[int]:
            yield from range(n)

        @app.task(name="steps", bind=True)
        def steps(self_: Any, n: int) -> str:
            for number in range(n):
                self_.progress(number, n, f"step {number}")
                assert gate.wait(WAIT)
            self_.progress(n, n, "done")
            return "all"

        self.count, self.words, self.held, self.breaks = count, words, held, breaks
        self.again, self.short, self.steps = again, short, steps


@pytest.fixture(scope="module")
def stage(store_of_its_own: str) -> Iterator[Stage]:
    stage = Stage(store_of_its_own)
    with stage.app, start_worker(stage.app, concurrency=4):
        yield stage


@pytest.fixture(autouse=True)
def closed_gate(stage: Stage) -> None:
    stage.gate.clear()
    stage.starts.clear()


def test_what_a_generator_yields_comes_in_order_and_its_value_is_what_it_returns(stage: Stage) -> None:
    result = stage.count.delay(250)
    assert list(result.stream(timeout=WAIT)) == list(range(250))
    assert result.get(timeout=WAIT) == 25_000
    assert list(result.stream(timeout=WAIT)) == list(range(250))


def test_an_asynchronous_generator_is_a_task_too(stage: Stage) -> None:
    result = stage.words.delay("all of these words")
    assert list(result.stream(timeout=WAIT)) == ["all", "of", "these", "words"]
    assert result.get(timeout=WAIT) is None


def test_a_stream_is_read_in_a_loop_too(stage: Stage) -> None:
    async def main() -> list[Any]:
        result = stage.words.delay("in a loop")
        return [part async for part in result.stream(timeout=WAIT)]

    assert asyncio.run(main()) == ["in", "a", "loop"]


def test_parts_come_while_the_task_runs(stage: Stage) -> None:
    result = stage.held.delay(2)
    parts = iter(result.stream(timeout=WAIT))
    assert next(parts) == 0
    assert not result.ready()
    stage.gate.set()
    assert list(parts) == [1]


def test_a_reader_goes_on_behind_the_part_that_it_saw_last(stage: Stage) -> None:
    result = stage.count.delay(5)
    stream = result.stream(timeout=WAIT)
    parts = iter(stream)
    assert [next(parts), next(parts)] == [0, 1]
    assert stream.last_id == "2"
    assert list(result.stream(after=stream.last_id, timeout=WAIT)) == [2, 3, 4]


def test_a_stream_ends_with_the_error_of_its_task(stage: Stage) -> None:
    parts = iter(stage.breaks.delay().stream(timeout=WAIT))
    assert next(parts) == "before"
    with pytest.raises(ValueError, match="broken off"):
        next(parts)


def test_a_task_that_runs_again_yields_no_part_twice(stage: Stage) -> None:
    assert list(stage.again.delay().stream(timeout=WAIT)) == ["one", "two", "three"]
    assert stage.starts == [0, 2]


def test_a_reader_that_comes_too_late_hears_which_parts_are_gone(stage: Stage) -> None:
    result = stage.short.delay(10)
    result.get(timeout=WAIT)
    with pytest.raises(IncompleteStream, match=r"parts 1 to 7 of task .*task_stream_buffer.*after='7'"):
        list(result.stream(timeout=WAIT))
    assert list(result.stream(after="7", timeout=WAIT)) == [7, 8, 9]


def test_a_silent_stream_ends_in_a_timeout(stage: Stage) -> None:
    result = stage.held.delay(1)
    parts = iter(result.stream(timeout=0.2))
    assert next(parts) == 0
    with pytest.raises(TimeoutError):
        next(parts)
    stage.gate.set()


def test_forgetting_a_result_forgets_its_stream(stage: Stage) -> None:
    result = stage.count.delay(3)
    result.get(timeout=WAIT)
    result.forget()
    assert stage.app.results is not None
    assert stage.app.results.parts(result.id, 0, 10) == []


def test_a_stream_needs_a_result(stage: Stage) -> None:
    with pytest.raises(ImproperlyConfigured, match="ignore_result"):
        stage.count.apply_async((1,), ignore_result=True).stream()


def test_generators_are_generators_where_they_are_called_directly(stage: Stage) -> None:
    assert list(stage.count(3)) == [0, 1, 2]
    ran = stage.count.apply((3,))
    assert ran.get() == 300
    assert list(ran.stream()) == [0, 1, 2]


def test_progress_comes_as_it_is_told_until_the_task_ends(stage: Stage) -> None:
    result = stage.steps.delay(2)
    updates = iter(result.progress(timeout=WAIT))
    assert next(updates) == Progress(0, 2, "step 0")
    assert result.state == "PROGRESS"
    assert result.info == {"current": 0, "total": 2, "message": "step 0"}
    stage.gate.set()
    assert list(updates)[-1:] in ([Progress(2, 2, "done")], [])
    assert result.get(timeout=WAIT) == "all"
    assert list(result.progress(timeout=WAIT)) == []


def test_progress_is_followed_in_a_loop_too(stage: Stage) -> None:
    async def main() -> list[Progress]:
        result = stage.steps.delay(1)
        seen = []
        async for update in result.progress(timeout=WAIT):
            seen.append(update)
            stage.gate.set()
        return seen

    assert asyncio.run(main())[0] == Progress(0, 1, "step 0")
    assert Progress(1, 4).fraction == 0.25
    assert Progress(1).fraction is None


def test_a_bar_shows_how_far_a_task_is_and_gives_its_value(stage: Stage) -> None:
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    stage.gate.set()
    assert show(stage.steps.delay(3), timeout=WAIT, console=console) == "all"
    assert re.search(r"([13])/\1", screen.getvalue())
    assert show(group(stage.count.s(n) for n in (1, 2)).delay(), timeout=WAIT, console=console) == [100, 200]
    assert "2/2" in screen.getvalue()
    assert asyncio.run(ashow(stage.steps.delay(1), timeout=WAIT, console=console)) == "all"
