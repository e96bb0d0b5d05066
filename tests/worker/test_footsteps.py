"""How many of our own steps lie on the way of a message: few, for the sake of speed and of stack traces."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import celeriac
from celeriac import Celery
from stand import Stand

OURS = str(Path(celeriac.__file__).parent)
APP = """
import sys
from celeriac import Celery
app = Celery("steps")

@app.task
def steps():
    frame, names = sys._getframe(1), []
    while frame is not None:
        names.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return names
"""


def test_a_warmed_delay_takes_forty_python_calls_at_most(redis_db: str) -> None:
    with Celery("calls", broker=redis_db, backend=redis_db, set_as_current=False) as app:

        @app.task
        def add(x: int, y: int) -> int:
            return x + y

        for _ in range(2):
            add.delay(1, 2)
        calls: list[str] = []

        def note(frame: FrameType, event: str, _argument: Any) -> None:
            if event == "call" and frame.f_code.co_filename.startswith(OURS):
                calls.append(frame.f_code.co_qualname)

        before = sys.getprofile()
        gc.disable()  # what other tests left is not on the way
        sys.setprofile(note)
        try:
            add.delay(1, 2)
        finally:
            sys.setprofile(before)
            gc.enable()
    assert 10 < len(calls) <= 30, " ".join(calls)


def test_six_frames_lie_between_the_life_of_a_child_and_a_plain_task(redis_db: str, tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(APP)
    stand = Stand(redis_db, tmp_path)
    try:
        stand.start("-c", "1", "-l", "WARNING", app="steps", ready=False)
        names = stand.send("steps.steps").get(timeout=20)
    finally:
        stand.close()
    assert names.index("Household.live") < 6, names
