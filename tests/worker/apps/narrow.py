"""An app on a narrow machine: descriptors have large numbers, and while a file is there no process is to be
had."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celeriac import Celery

app = Celery("narrow")

_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(_soft, 2048), _hard))
taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1024)]


def scarce(name: str, why: int) -> Callable[[], Any]:
    """This function of the system, which is refused while the file names it."""
    plain: Callable[[], Any] = getattr(os, name)

    def asked() -> Any:
        refused = Path(os.environ["REFUSE"])
        if refused.exists() and refused.read_text() == name:
            raise OSError(why, os.strerror(why))
        return plain()

    return asked


os.fork = scarce("fork", errno.EAGAIN)
os.pipe = scarce("pipe", errno.EMFILE)


@app.task
def f(value: Any = None) -> Any:
    return value
