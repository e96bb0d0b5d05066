"""One file: a web application that hands work to a worker, beside FastAPI's own BackgroundTasks.

By hand, in this folder:

    uvicorn main:app                                        # in one terminal
    celeriac -A main.celery worker --loglevel=info          # in another one; or with -P gevent
    curl 'http://127.0.0.1:8000/?message=hello'

It wants a Redis server at localhost:6379. With none at hand set CELERY_BROKER_URL and CELERY_RESULT_BACKEND
to sqlite:///celeriac.db in both terminals: the environment wins over what stands here.
"""

import time

from fastapi import BackgroundTasks, FastAPI

from celeriac import Celery

app = FastAPI()

celery = Celery(
    __name__,
    broker="redis://127.0.0.1:6379/0",
    backend="redis://127.0.0.1:6379/0",
    broker_connection_retry_on_startup=True,
)


@celery.task
def call_background_task(message):
    time.sleep(1)
    print("Background task called!")
    print(message)


@app.get("/")
async def through_the_queue(message: str):
    """Answers at once; the work waits in the queue, and no restart of either side loses it."""
    await call_background_task.adelay(message)
    return {"message": "handed over"}


@app.get("/in-this-process")
async def through_fastapi(message: str, background_tasks: BackgroundTasks):
    """Answers at once too, but the work takes a thread of the web server, and dies with it."""
    background_tasks.add_task(call_background_task, message)
    return {"message": "will be done here"}
