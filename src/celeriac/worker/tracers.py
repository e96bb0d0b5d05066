"""What others put around whole runs, from the decoded message to the outcome, signals and handlers included.

That is what a replaced `celery.app.trace.build_tracer` does, which error trackers are fond of. Our own way is
middleware; it stands inside of the signals, and is there for coroutines too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celeriac.message import Outcome
from celeriac.request import Request
from celeriac.task import Task

#: Called with the request and what runs it; gives what that gave.
Tracer = Callable[[Request, Callable[[], Outcome]], Outcome]

#: Gives what stands around the runs of a task, None for nothing. Set by who knows how such are made; None
#: while nobody in this process has asked for it.
tracer_of: Callable[[Task[Any, Any]], Tracer | None] | None = None
