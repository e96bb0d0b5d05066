"""What OpenTelemetry's SDK holds is handed over when a child ends.

A child ends without the interpreter's own end, at which the SDK would do so. Whoever set it up, by our
middleware or by another instrumentation: it is asked only where the program has loaded it.
"""

from __future__ import annotations

import logging
import sys

#: Milliseconds that each of its providers may take.
LIMIT = 5000

#: Its modules, and how each gives its provider.
_PROVIDERS = {
    "opentelemetry.trace": "get_tracer_provider",
    "opentelemetry.metrics": "get_meter_provider",
}


def hand_over() -> None:
    """Never raises: a collector that is away is no reason not to end."""
    for module, getter in _PROVIDERS.items():
        loaded = sys.modules.get(module)
        if loaded is None:
            continue
        try:
            flush = getattr(getattr(loaded, getter)(), "force_flush", None)
            if flush is not None:
                flush(LIMIT)
        except Exception:
            logging.getLogger("celery.worker").exception("%s could not hand over what it holds", module)
