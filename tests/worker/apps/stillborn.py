"""An app whose children die before they are ready, until a file is there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celeriac import Celery, signals

app = Celery("stillborn")


@signals.worker_process_init.connect
def die(**_: Any) -> None:
    ledger = Path(os.environ["BIRTHS"])
    with ledger.open("a") as file:
        file.write(f"{time.time()}\n")
    if not Path(os.environ["CURE"]).exists():
        os._exit(5)


@app.task
def f(value: Any = None) -> Any:
    return value
