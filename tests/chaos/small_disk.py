"""Runs in a mount namespace of its own: a worker and a producer on a disk that fills up."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from celeriac.exceptions import OperationalError
from chaos.stage import SqliteStore, Stage


def main(folder: Path, rounds: int) -> None:
    stage = Stage(folder.parent, SqliteStore(folder))
    try:
        # It grows into the space that the file needs, and is removed like any other rubbish.
        ballast = folder / "ballast"
        fill_up(ballast)
        worker = stage.start_worker("-c", "2", "-Q", "celery")
        for number in range(rounds):
            stage.send(f"first{number}")
            stage.wait_until_done(20)
            refused = send_until_refused(stage, f"t{number}")
            print(f"refused: {refused}")
            ballast.unlink()
            stage.wait_until_done(30)
            stage.send(f"last{number}")
            stage.wait_until_done(20)
            stage.check_all_ran()
            assert worker.running
            fill_up(ballast)
        print(f"all {len(stage.sent)} there, {stage.reruns()} second runs")
    finally:
        stage.close()


def fill_up(ballast: Path) -> None:
    """Until so little is left as a worker needs to start and some messages need."""
    free = shutil.disk_usage(ballast.parent).free
    ballast.write_bytes(b"x" * (free - 1_500_000))


def send_until_refused(stage: Stage, name: str) -> OperationalError:
    for number in range(10_000):
        try:
            stage.send(f"{name}.{number}", task="heavy", kwargs={"text": "x" * 5_000})
        except OperationalError as error:
            return error
    raise AssertionError("the disk was never full")


main(Path(sys.argv[1]), int(sys.argv[2]))
