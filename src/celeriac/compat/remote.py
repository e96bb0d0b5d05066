"""`celery.worker.control`: where programs register commands of their own."""

from __future__ import annotations

from celeriac.panel import control_command, inspect_command, nok, ok, panel

__all__ = ["Panel", "control_command", "inspect_command", "nok", "ok"]

#: As `Panel.register`, `Panel.data`, `Panel.meta`.
Panel = panel
