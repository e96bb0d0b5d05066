"""A program written for Celery runs on celeriac as it is: `from celery import ...`, the command `celery`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from services import Program

DROPIN = Path(__file__).parents[2] / "dropin" / "src"
Start = Callable[..., Program]
Run = Callable[..., subprocess.CompletedProcess[str]]

PROGRAM = """
from celery import Celery, shared_task
from celery.exceptions import Reject
from celery.result import AsyncResult
from celery.signals import task_success
from celery.utils.log import get_task_logger
from celery.utils.nodenames import default_nodename

logger = get_task_logger(__name__)
app = Celery("shop", broker="sqlite:///shop.db", backend="sqlite:///shop.db")

@app.task(bind=True)
def add(self, x, y):
    logger.info("adding on %s", self.request.hostname == default_nodename(None))
    return x + y

@shared_task
def double(x):
    return 2 * x

@task_success.connect
def cheer(sender=None, result=None, **kwargs):
    print("cheers for", sender.name, result)

if __name__ == "__main__":
    from shop import add, double
    print(add.delay(1, 2).get(timeout=20), double.delay(21).get(timeout=20))
"""


@pytest.mark.parametrize("command", ["celery", "celeriac"])
def test_a_celery_program_runs_as_it_is(
    python: Run, tmp_path: Path, worker_process: Start, command: str
) -> None:
    (tmp_path / "shop.py").write_text(PROGRAM)
    worker = worker_process(
        "shop", tmp_path, "-l", "info", "-c", "1", env={"PYTHONPATH": str(DROPIN)}, program=command
    )
    worker.wait_for_line(r" ready\.")
    done = python("shop.py")
    assert (done.returncode, done.stdout) == (0, "3 42\n"), done.stderr
    worker.wait_for_line(r"INFO/ForkPoolWorker-1\] shop\.add\[[0-9a-f-]{36}\]: adding on True")
    worker.wait_for_line(r"WARNING/ForkPoolWorker-1\] cheers for shop\.double 42")
