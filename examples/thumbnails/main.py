"""Thumbnails: heavy work goes to several processes, and the browser sees how far it is.

By hand, in this folder:

    uvicorn main:app                                                    # in one terminal
    celeriac -A main.celery worker --loglevel=info -c 4                 # in another one
    curl --data-binary @photo.jpg 'http://127.0.0.1:8000/albums?widths=64&widths=128&widths=256'
    curl 'http://127.0.0.1:8000/albums/<id>'                            # how far it is
    curl 'http://127.0.0.1:8000/albums/<id>/64' > small.png
"""

import uuid
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query, Request, Response

from celeriac import Celery
from task import thumbnail

app = FastAPI()
celery = Celery(__name__)
#: The tasks of each album, by width. A larger application has a database for this.
albums: dict[str, dict[int, str]] = {}


@app.post("/albums")
async def make_album(request: Request, widths: Annotated[list[int], Query()]):
    image = await request.body()
    album = str(uuid.uuid4())
    albums[album] = {width: (await thumbnail.adelay(image, width)).id for width in widths}
    return {"id": album}


@app.get("/albums/{album}")
def progress(album: str):
    results = [celery.AsyncResult(task_id) for task_id in albums[album].values()]
    done = [result for result in results if result.ready()]
    return {"done": len(done), "of": len(results), "processes": len({r.get()["process"] for r in done})}


@app.get("/albums/{album}/{width}")
def picture(album: str, width: int):
    result = celery.AsyncResult(albums[album][width])
    if not result.ready():
        raise HTTPException(404, "not yet")
    return Response(result.get()["png"], media_type="image/png")
