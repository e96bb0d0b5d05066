"""`celery.utils.abstract`: what can be called later, to be asked for with isinstance."""

from __future__ import annotations

from celeriac.canvas import Signature as CallableSignature
from celeriac.task import Task as CallableTask

__all__ = ["CallableSignature", "CallableTask"]
