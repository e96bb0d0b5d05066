"""Notice that the real Celery is installed beside the drop-in: both own the import name `celery`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

#: What pip writes for the distribution celery; ours is celeriac_celery-....
_METADATA = re.compile(r"celery-\d[^/]*\.(dist-info|egg-info)$")


def refuse_to_shadow(own_folder: Path) -> None:
    """ImportError if the real Celery is in this environment too: one would hide the other unseen."""
    real = _real_celery(own_folder)
    if real is not None:
        raise ImportError(
            "Two distributions own the import name 'celery' here: "
            f"the drop-in of celeriac ({own_folder}) and the real Celery ({real}). Keep one. "
            "For celeriac: pip uninstall -y celery celeriac-celery && pip install celeriac-celery. "
            "For Celery: the same with celery at the end.",
            name="celery",
            path=str(own_folder),
        )


def _real_celery(own_folder: Path) -> Path | None:
    """Its metadata on the import path, or its modules among ours."""
    for folder in map(Path, sys.path):
        try:
            found = next((entry for entry in folder.iterdir() if _METADATA.match(entry.name)), None)
        except OSError:
            continue
        if found is not None:
            return found
    modules = own_folder / "app"
    return modules if modules.is_dir() else None
