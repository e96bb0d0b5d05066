"""The same tasks, on a worker whose supervisor counts as stuck after a second."""

from __future__ import annotations

import main

from celeriac.worker import diagnosis

app = main.app
diagnosis.STUCK = 1.0
