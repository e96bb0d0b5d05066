"""Make the standard library cooperative before the rest is imported, when a gevent worker is asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise

#: `-P gevent`, `--pool gevent`: the flag and its value are two arguments.
_FLAGS = ("-P", "--pool")
#: `-Pgevent`, `--pool=gevent`: one argument.
_JOINED = ("-Pgevent", "--pool=gevent")
#: The flag of reloading.py, and how the environment says the same.
FLAG, VARIABLE = "--reload", "CELERY_WORKER_RELOAD"


def patch_if_asked(argv: Sequence[str], environ: Mapping[str, str]) -> None:
    """Monkey-patch for `worker -P gevent` (or CELERY_WORKER_POOL=gevent); for all else do nothing.

    It reads the bare arguments since the command line is parsed much later, when locks and sockets exist.
    """
    if asks_for_gevent(argv, environ):
        _patch()


def asks_for_gevent(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    if "worker" not in argv or FLAG in argv or environ.get(VARIABLE):
        return False  # who only watches over a worker needs no greenlets: that worker will
    said = [value for flag, value in pairwise(argv) if flag in _FLAGS]
    said += ["gevent" for argument in argv if argument in _JOINED]
    return "gevent" in said if said else environ.get("CELERY_WORKER_POOL") == "gevent"


def is_patched() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))


def _patch() -> None:
    try:
        from gevent import monkey
    except ImportError as error:
        sys.exit(f"Error: -P gevent needs gevent ({error}): pip install 'celeriac[gevent]'")
    monkey.patch_all()
