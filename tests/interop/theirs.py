"""The shop's app, of stock Celery: for its workers, and for `customer.py`."""

from __future__ import annotations

import os

from celery import Celery
from shop import open_shop

# The settings without which a stock worker would take over the root logger or poll its broker for a second.
app = open_shop(
    Celery,
    os.environ["SHOP_URL"],
    accept_content=os.environ.get("SHOP_ACCEPT", "json").split(),
    broker_connection_retry_on_startup=True,
)
