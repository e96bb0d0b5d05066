"""What an app tells its workers: so far, which tasks shall not run. `app.control`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from celeriac import revoking
from celeriac.current import App
from celeriac.exceptions import CeleriacWarning


class Control:
    """Remote control as far as it is built."""

    def __init__(self, app: App) -> None:
        self._app = app

    def revoke(
        self,
        task_id: Any,
        destination: object = None,
        terminate: bool = False,
        signal: str = "SIGTERM",
        **_named: object,
    ) -> None:
        """None of these tasks (an id, a result, or several) begins from now on, on any worker, now or later.

        It is the store that remembers, so workers need not be up, and none has to answer.
        """
        if terminate:
            warnings.warn(
                "revoke(terminate=True): what runs already is not stopped yet; give it a time_limit",
                CeleriacWarning,
                stacklevel=2,
            )
        several = isinstance(task_id, Iterable) and not isinstance(task_id, str)
        revoking.revoke(self._app, [str(one) for one in (task_id if several else (task_id,))])

    def purge(self, **_named: object) -> int:
        """Remove what waits in the app's queues; returns how many messages. There is no undo."""
        return self._app.purge(self._app.router.consumed())

    discard_all = purge
