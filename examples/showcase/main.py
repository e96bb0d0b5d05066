"""The showcase: one application that hands work of every kind to its workers.

By hand, in this folder:

    uvicorn main:app
    celeriac -A main.celery worker -Q celery,high_priority,low_priority         # in another terminal
    open http://127.0.0.1:8000/docs
"""

import asyncio
from typing import Annotated

from fastapi import FastAPI, Query, Request

from celeriac import Celery
from task import area, ask_supplier, charge, parse_number, send_newsletter, thumbnail, write_report

app = FastAPI(title="celeriac showcase")
celery = Celery(__name__)


@app.post("/reports")
async def report(title: str):
    """Hand over and answer at once."""
    return {"ids": [(await write_report.adelay(title)).id]}


@app.post("/orders")
async def orders(customers: int):
    """A charge in the urgent queue and a newsletter in the other one, for each customer."""
    names = [f"customer {number}" for number in range(customers)]
    written = [(await send_newsletter.adelay(name)).id for name in names]
    charged = [(await charge.adelay(name)).id for name in names]
    return {"ids": written + charged}


@app.post("/numbers")
async def number(text: str):
    """A text that is no number is tried five times more, then it is a failure."""
    return {"ids": [(await parse_number.adelay(text)).id]}


@app.get("/area")
def three_ways(width: int, height: int):
    """apply_async, delay and the plain call, side by side."""
    sent = area.apply_async(args=[width], kwargs={"height": height}, priority=3)
    short = area.delay(width, height)
    return {
        "apply_async": sent.get(timeout=30),
        "delay": short.get(timeout=30),
        "direct": area(width, height),
    }


@app.get("/quote")
async def quote(product: str):
    """Waits for three results without blocking the event loop."""
    asked = [await ask_supplier.adelay(product, supplier) for supplier in ("North", "East", "Southwest")]
    offers = await asyncio.gather(*(result.aget(timeout=30) for result in asked))
    return min(offers, key=lambda offer: offer["price"])


@app.post("/thumbnails")
async def thumbnails(request: Request, widths: Annotated[list[int], Query()]):
    """An image as the body; one task for each width."""
    image = await request.body()
    return {"ids": [(await thumbnail.adelay(image, width)).id for width in widths]}


@app.get("/results")
def results(ids: Annotated[list[str], Query()]):
    """How far these tasks are, and what came out; bytes are told by their length."""
    return [described(celery.AsyncResult(task_id)) for task_id in ids]


def described(answer):
    value = answer.result if answer.ready() else None
    if isinstance(value, dict) and "png" in value:
        value = {**value, "png": f"{len(value['png'])} bytes"}
    return {"state": answer.state, "result": repr(value) if isinstance(value, BaseException) else value}
