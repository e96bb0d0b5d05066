"""Queues: what is urgent has a queue and a worker of its own, and never waits behind what is not.

By hand, in this folder:

    uvicorn main:app                                                  # in one terminal
    curl -X POST 'http://127.0.0.1:8000/orders?customers=3'
    celeriac -A main.celery queue peek low_priority -n 100            # who waits, next one first
    celeriac -A main.celery worker -Q high_priority --loglevel=info -n high@%h      # in a second terminal
    celeriac -A main.celery worker -Q low_priority --loglevel=info -n low@%h        # in a third one
"""

from fastapi import FastAPI

from celeriac import Celery

app = FastAPI()
celery = Celery(__name__)


@celery.task(queue="high_priority")
def charge(customer):
    return f"charged {customer}"


@celery.task(queue="low_priority")
def send_newsletter(customer):
    return f"wrote to {customer}"


@app.post("/orders")
def order(customers: int):
    """Each task goes to its own queue; the last one is told to go elsewhere, by its call alone."""
    names = [f"customer {number}" for number in range(customers)]
    charged = [charge.delay(name) for name in names]
    written = [send_newsletter.delay(name) for name in names]
    urgent = send_newsletter.apply_async(args=["the director"], queue="high_priority")
    return {
        "high_priority": [result.id for result in [*charged, urgent]],
        "low_priority": [result.id for result in written],
    }


@app.get("/result/{task_id}")
def result(task_id: str):
    answer = celery.AsyncResult(task_id)
    return {"state": answer.state, "result": answer.result if answer.successful() else None}
