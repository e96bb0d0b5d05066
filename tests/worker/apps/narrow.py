"""An app on a narrow machine: descriptors have large numbers, and while a file is there no process is to be
had."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

from celeriac import Celery

app = Celery("narrow")

_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(_soft, 2048), _hard))
taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1024)]

_fork = os.fork


def fork() -> int:
    if Path(os.environ["REFUSE"]).exists():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return _fork()


os.fork = fork


@app.task
def f(value: Any = None) -> Any:
    return value
