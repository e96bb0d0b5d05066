"""The shop's app, of celeriac: for its workers."""

from __future__ import annotations

import os

from shop import open_shop

from celeriac import Celery

app = open_shop(Celery, os.environ["SHOP_URL"], accept_content=os.environ.get("SHOP_ACCEPT", "json").split())
