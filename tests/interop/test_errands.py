"""A user of either library and a worker of the other: the same lines do the same."""

from __future__ import annotations

from typing import Any

import pytest

from interop import shop
from interop.conftest import Customer, Workers
from interop.errands import ERRANDS

#: What a celeriac worker does not do yet.
MISSING: dict[str, str] = {}


@pytest.mark.parametrize(
    "errand",
    [
        pytest.param(name, marks=pytest.mark.xfail(reason=MISSING[name])) if name in MISSING else name
        for name in ERRANDS
    ],
)
def test_stock_celery_sends_and_celeriac_runs(stock: Customer, workers: Workers, errand: str) -> None:
    stock("errands.ERRANDS[errand](app, queue)", errand=errand, queue=shop.OURS)


@pytest.mark.parametrize("errand", ERRANDS)
def test_celeriac_sends_and_stock_celery_runs(ours: Any, workers: Workers, errand: str) -> None:
    ERRANDS[errand](ours, shop.THEIRS)


@pytest.mark.parametrize("errand", ERRANDS)
def test_it_is_what_stock_celery_does(stock: Customer, workers: Workers, errand: str) -> None:
    """The errand itself is true: without this, a wrong one would make celeriac wrong too."""
    stock("errands.ERRANDS[errand](app, queue)", errand=errand, queue=shop.THEIRS)
