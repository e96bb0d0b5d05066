"""The shop's app, of stock Celery: for its workers, and for `customer.py`."""

from __future__ import annotations

import os

from celery import Celery
from interop.shop import open_shop

app = open_shop(
    Celery,
    os.environ["SHOP_URL"],
    accept_content=os.environ.get("SHOP_ACCEPT", "json").split(),
    broker_connection_retry_on_startup=True,
)
