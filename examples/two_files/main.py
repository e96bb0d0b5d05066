"""Two files: the web application here, the tasks in task.py with @shared_task, no circular import.

By hand, in this folder:

    uvicorn main:app                                        # in one terminal
    celeriac -A main.celery worker --loglevel=info          # in another one
    curl 'http://127.0.0.1:8000/count?text=one+two+three'   # gives an id
    curl 'http://127.0.0.1:8000/result/<id>'

No broker is given: messages and results lie in celeriac.db, in this folder.
"""

from fastapi import FastAPI

from celeriac import Celery
from task import count_words

app = FastAPI()
celery = Celery(__name__)


@app.get("/count")
async def count(text: str):
    result = await count_words.adelay(text)
    return {"id": result.id}


@app.get("/result/{task_id}")
def result(task_id: str):
    answer = celery.AsyncResult(task_id)
    return {"state": answer.state, "result": answer.result if answer.successful() else None}
