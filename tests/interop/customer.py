"""A user of stock Celery who does what a test says: each line of input is JSON with Python code to run.

The code finds `app` (of Celery), `shop`, `errands` and what the test gave by name; what it leaves in `answer`
goes back.
"""

from __future__ import annotations

import json
import sys
import traceback

from interop import errands, shop
from interop.theirs import app


def main() -> None:
    replies, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        order = json.loads(line)
        names = {"app": app, "errands": errands, "shop": shop, "answer": None, **order["names"]}
        try:
            exec(order["code"], names)
            reply = {"answer": names["answer"]}
        except Exception:
            reply = {"error": traceback.format_exc()}
        print(json.dumps(reply, default=repr), file=replies, flush=True)


main()
