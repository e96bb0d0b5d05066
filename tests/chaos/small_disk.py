"""Runs in a mount namespace of its own: a worker and a producer on a disk that fills up."""

from __future__ import annotations

import sys
from pathlib import Path

from celeriac.exceptions import OperationalError
from chaos.stage import SqliteStore, Stage


def main(folder: Path) -> None:
    stage = Stage(folder.parent, SqliteStore(folder))
    try:
        # It grows into the space that the file needs, and is removed like any other rubbish.
        ballast = folder / "ballast"
        ballast.write_bytes(b"x" * 5_000_000)
        worker = stage.start_worker("-c", "2", "-Q", "celery")
        stage.send("first")
        stage.wait_until_done(20)
        refused = send_until_refused(stage)
        print(f"refused: {refused}")
        ballast.unlink()
        stage.wait_until_done(30)
        stage.send("last")
        stage.wait_until_done(20)
        stage.check_all_ran()
        assert worker.running
        print(f"all {len(stage.sent)} there, {stage.reruns()} second runs")
    finally:
        stage.close()


def send_until_refused(stage: Stage) -> OperationalError:
    for number in range(10_000):
        try:
            stage.send(f"t{number}", task="heavy", kwargs={"text": "x" * 5_000})
        except OperationalError as error:
            return error
    raise AssertionError("the disk was never full")


main(Path(sys.argv[1]))
