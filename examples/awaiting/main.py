"""Awaiting: an endpoint that needs a result waits for it without blocking the event loop.

By hand, in this folder:

    uvicorn main:app                                                    # in one terminal
    celeriac -A main.celery worker --loglevel=info -P asyncio -c 100    # in another one
    curl 'http://127.0.0.1:8000/quote?product=tea'
    curl 'http://127.0.0.1:8000/alive'                                  # answers meanwhile
"""

import asyncio

from fastapi import FastAPI

from celeriac import Celery

app = FastAPI()
celery = Celery(__name__)


@celery.task
async def ask_supplier(product, supplier):
    await asyncio.sleep(1)  # a request to somebody who takes his time
    return {"supplier": supplier, "price": len(product) * 10 + len(supplier)}


@app.get("/quote")
async def quote(product: str):
    """Asks three suppliers at once and takes the cheapest."""
    asked = [await ask_supplier.adelay(product, supplier) for supplier in ("North", "East", "Southwest")]
    offers = await asyncio.gather(*(result.aget(timeout=30) for result in asked))
    return min(offers, key=lambda offer: offer["price"])


@app.get("/alive")
async def alive():
    return {"alive": True}
