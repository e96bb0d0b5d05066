"""celeriac under the name `celery`: the same objects, found by Celery's module paths."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from celeriac.compat.shadowing import refuse_to_shadow

refuse_to_shadow(Path(__file__).resolve().parent)

from celeriac.compat import modules  # noqa: E402 - nothing may be served before the check
from celeriac.compat.top import *  # noqa: E402, F403
from celeriac.compat.top import __all__ as __all__  # noqa: E402
from celeriac.compat.top import __version__ as __version__  # noqa: E402

modules.install()


def __getattr__(name: str) -> ModuleType:
    """`celery.states` after a bare `import celery`."""
    return modules.submodule(__name__, name)
