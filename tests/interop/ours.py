"""The shop's app, of celeriac: for its workers."""

from __future__ import annotations

import os

from celeriac import Celery
from interop.shop import open_shop

app = open_shop(Celery, os.environ["SHOP_URL"], accept_content=os.environ.get("SHOP_ACCEPT", "json").split())
