"""How many of our own steps lie on the way of a message: few, for the sake of speed and of stack traces."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from services import clean_environment
from stand import Stand

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


CALLER = """
import sys
from pathlib import Path
import celeriac

ours = str(Path(celeriac.__file__).parent)
app = celeriac.Celery("calls", broker=sys.argv[1], backend=sys.argv[1])

@app.task
def add(x, y):
    return x + y

def note(frame, event, argument):
    if event == "call" and frame.f_code.co_filename.startswith(ours):
        calls.append(frame.f_code.co_qualname)

for _ in range(3):
    calls = []
    sys.setprofile(note)
    add.delay(1, 2)
    sys.setprofile(None)
print(*calls)
"""


def test_a_warmed_delay_takes_forty_python_calls_at_most(redis_db: str) -> None:
    # In a process of its own: what other tests left would be counted too.
    ended = subprocess.run(
        [sys.executable, "-c", CALLER, redis_db],
        env=clean_environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    assert 10 < len(ended.stdout.split()) <= 30, ended.stdout


def test_six_frames_lie_between_the_life_of_a_child_and_a_plain_task(redis_db: str, tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(APP)
    stand = Stand(redis_db, tmp_path)
    try:
        stand.start("-c", "1", "-l", "WARNING", app="steps", ready=False)
        names = stand.send("steps.steps").get(timeout=20)
    finally:
        stand.close()
    assert names.index("live") < 6, names
