"""The names of the package `celery` itself."""

from __future__ import annotations

from typing import NamedTuple

from celeriac.app import Celery
from celeriac.canvas import (
    Signature,
    chain,
    chord,
    chunks,
    group,
    maybe_signature,
    signature,
    subtask,
    xmap,
    xstarmap,
)
from celeriac.compat.app import bugreport
from celeriac.compat.utils import uuid
from celeriac.current import current_app, current_task
from celeriac.shared import shared_task
from celeriac.task import Task

__all__ = [
    "SERIES",
    "VERSION",
    "VERSION_BANNER",
    "Celery",
    "Signature",
    "Task",
    "bugreport",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "maybe_signature",
    "shared_task",
    "signature",
    "subtask",
    "uuid",
    "version_info",
    "xmap",
    "xstarmap",
]


class _Version(NamedTuple):
    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: str


#: The Celery whose names and wire these are: other packages choose by it what they may use.
#: Our own version is celeriac.__version__.
version_info = VERSION = _Version(5, 7, 0, "", "")
__version__ = "5.7.0"
SERIES = "celeriac"
VERSION_BANNER = f"{__version__} ({SERIES})"
