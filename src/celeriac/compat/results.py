"""`celery.result.ResultBase`: what is a result, of whatever kind."""

from __future__ import annotations

from abc import ABC

from celeriac.result import AsyncResult
from celeriac.resultset import ResultSet

__all__ = ["ResultBase"]


class ResultBase(ABC):  # noqa: B024 - results are no subclasses of it, they only count as its instances
    """For `isinstance`: an AsyncResult, ResultSet or GroupResult."""


ResultBase.register(AsyncResult)
ResultBase.register(ResultSet)
