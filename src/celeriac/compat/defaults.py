"""`celery.app.defaults`: the settings by their names, and the forms of log lines that programs build upon."""

from __future__ import annotations

from typing import Any, NamedTuple

from celeriac.config import SETTINGS, Setting, modern_name

__all__ = ["DEFAULTS", "DEFAULT_PROCESS_LOG_FMT", "DEFAULT_TASK_LOG_FMT", "Found", "find"]

#: Each setting's default by its name.
DEFAULTS: dict[str, Any] = {name: setting.default for name, setting in SETTINGS.items()}
DEFAULT_PROCESS_LOG_FMT: str = DEFAULTS["worker_log_format"]
DEFAULT_TASK_LOG_FMT: str = DEFAULTS["worker_task_log_format"]


class Found(NamedTuple):
    namespace: str
    key: str
    type: Setting


def find(name: str, namespace: str = "celery") -> Found:
    """A setting by its present or its old name; KeyError if there is none."""
    known = modern_name(name)
    known = known if known in SETTINGS else f"{namespace.lower()}_{known.lower()}"
    before, _, after = known.partition("_")
    return Found(before, after, SETTINGS[known])
