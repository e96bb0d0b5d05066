"""`worker --reload`: a worker that starts anew whenever a Python file below its folder changes.

The process that was started only watches; the worker is a child of its own. So a module that cannot be
imported any more ends the worker and not the watching, and the next change brings it back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

from celeriac.cli.greenlets import FLAG, VARIABLE

#: Milliseconds between two looks whether the worker is still there.
LOOK = 300
#: Seconds that what runs gets at a change, before it is given back and runs again in the new worker.
GRACE = 5.0


def run_and_reload() -> int:
    """Run the command of this process without the flag, again for every change; returns its exit code."""
    try:
        from watchfiles import PythonFilter, watch
    except ImportError as error:
        sys.exit(f"Error: --reload needs watchfiles ({error}): pip install 'celeriac[reload]'")
    worker = _start()
    over = threading.Event()

    def hand_on(number: int, _: FrameType | None) -> None:
        over.set()
        worker.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, hand_on)
    told = False
    for changes in watch(
        ".", watch_filter=PythonFilter(), stop_event=over, rust_timeout=LOOK, yield_on_timeout=True
    ):
        if changes:
            _say(f"{_names(path for _, path in changes)} changed: the worker starts anew")
            _end(worker)
            worker, told = _start(), False
        elif not told and worker.poll() is not None:
            if worker.returncode == 0:
                break
            told = True
            _say(f"the worker ended with {worker.returncode}; it starts anew when a file changes")
    return worker.wait()


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, *(word for word in sys.orig_argv[1:] if word != FLAG)]
    surroundings = {name: value for name, value in os.environ.items() if name != VARIABLE}
    # In a group of its own: a Ctrl-C reaches it once, through us.
    return subprocess.Popen(command, env=surroundings, process_group=0)


def _end(worker: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL):
        worker.send_signal(number)
        try:
            worker.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue
        return


def _names(paths: Iterable[str]) -> str:
    first, *others = sorted(os.path.relpath(path) for path in paths)
    return f"{first} and {len(others)} more" if others else first


def _say(what: str) -> None:
    print(f"celeriac {FLAG} in {Path.cwd()}: {what}", file=sys.stderr, flush=True)
