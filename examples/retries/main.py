"""Retries: a task that fails is tried again by itself, five times; then its state is FAILURE.

By hand, in this folder:

    uvicorn main:app                                        # in one terminal
    celeriac -A main.celery worker --loglevel=info          # in another one: see it retry
    curl -X POST 'http://127.0.0.1:8000/parse?text=12'      # succeeds
    curl -X POST 'http://127.0.0.1:8000/parse?text=twelve'  # fails after five retries
    curl 'http://127.0.0.1:8000/result/<id>'
"""

from fastapi import FastAPI

from celeriac import Celery

app = FastAPI()
celery = Celery(__name__)


# `autoretry_for` is the older name of `auto_retry`. The default delay would be three minutes.
@celery.task(
    name="my_first.tasks", auto_retry=[ValueError, TypeError], max_retries=5, default_retry_delay=0.2
)
def parse_number(text):
    print(f"parsing {text!r}")
    return int(text)


@app.post("/parse")
async def parse(text: str):
    result = await parse_number.adelay(text)
    return {"id": result.id}


@app.get("/result/{task_id}")
def result(task_id: str):
    answer = celery.AsyncResult(task_id)
    return {
        "state": answer.state,
        "result": answer.result if answer.successful() else None,
        "error": repr(answer.result) if answer.failed() else None,
    }
