"""The command line: `celeriac`, `python -m celeriac`, and the drop-in's `celery`."""

from __future__ import annotations

import os
import sys

from celeriac.cli.greenlets import patch_if_asked


def main() -> None:
    """Run the command that the process was started with, and exit as it says."""
    patch_if_asked(sys.argv[1:], os.environ)
    # Only now: what these modules import must meet a standard library that is patched already.
    from celeriac.cli.program import program

    program(auto_envvar_prefix="CELERY")
