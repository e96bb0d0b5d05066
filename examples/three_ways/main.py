"""The three ways to call a task: apply_async, delay, and plainly, in this very process.

By hand, in this folder:

    uvicorn main:app                                        # in one terminal
    celeriac -A main.celery worker --loglevel=info          # in another one
    curl 'http://127.0.0.1:8000/area?width=6&height=7'
"""

import os

from fastapi import FastAPI

from celeriac import Celery

app = FastAPI()
celery = Celery(__name__)


@celery.task
def area(width, height):
    return {"area": width * height, "process": os.getpid()}


@app.get("/area")
def three_ways(width: int, height: int):
    # With options: when, where to, how urgent.
    by_apply_async = area.apply_async(args=[width], kwargs={"height": height}, countdown=0.1, priority=3)
    # The short way, for calls without options.
    by_delay = area.delay(width, height)
    # No queue and no worker: a function is a function.
    directly = area(width, height)
    return {
        "web_server": os.getpid(),
        "apply_async": by_apply_async.get(timeout=30),
        "delay": by_delay.get(timeout=30),
        "direct": directly,
    }
