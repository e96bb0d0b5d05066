"""`celery.registry`: the tasks of the current app, where old code and OpenTelemetry look for them."""

from __future__ import annotations

from celeriac.compat.local import Proxy
from celeriac.current import get_current_app

__all__ = ["tasks"]

#: Of whatever app is current when it is asked.
tasks = Proxy(lambda: get_current_app().tasks)
