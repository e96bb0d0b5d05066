"""Streaming: a task yields, the browser sees each part as it comes (server-sent events), even after a cut.

By hand, in this folder:

    uvicorn main:app                                        # in one terminal
    celeriac -A main.celery worker --loglevel=info          # in another one
    curl -N 'http://127.0.0.1:8000/story?words=12'          # the words come one by one
"""

import json
import time

from fastapi import FastAPI, Header
from fastapi.responses import StreamingResponse

from celeriac import Celery

app = FastAPI()
celery = Celery(__name__)

WORDS = "once upon a time there was a queue that never lost a single word".split()


@celery.task
def tell(words, pause=0.1):
    """A generator: whoever follows the task gets each word when it is yielded."""
    for number in range(words):
        time.sleep(pause)  # a model that thinks about its next word
        yield WORDS[number % len(WORDS)]


@app.get("/story")
async def story(words: int = 12, pause: float = 0.1):
    """Begins a story and streams it."""
    result = await tell.adelay(words, pause)
    return StreamingResponse(events(result), media_type="text/event-stream")


@app.get("/story/{task_id}")
async def listen(task_id: str, last_event_id: str | None = Header(None)):
    """The same story again; a browser that lost its connection says how far it had come."""
    return StreamingResponse(
        events(celery.AsyncResult(task_id), after=last_event_id), media_type="text/event-stream"
    )


async def events(result, after=None):
    """Each part as an event with its id; the last event says how it ended."""
    stream = result.stream(after=after, timeout=60)
    yield f"event: task\ndata: {result.id}\n\n"
    try:
        async for word in stream:
            yield f"id: {stream.last_id}\ndata: {json.dumps(word)}\n\n"
    except Exception as error:
        yield f"event: failed\ndata: {json.dumps(str(error))}\n\n"
    else:
        yield "event: end\ndata: {}\n\n"
