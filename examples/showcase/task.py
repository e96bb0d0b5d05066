"""One task of every kind, for the showcase."""

import asyncio
import io
import os
import time

from PIL import Image

from celeriac import shared_task


@shared_task()
def write_report(title):
    """Background work that nobody waits for."""
    time.sleep(0.5)
    print(f"report {title!r} is written")
    return f"report {title}"


@shared_task(queue="high_priority")
def charge(customer):
    return f"charged {customer}"


@shared_task(queue="low_priority")
def send_newsletter(customer):
    time.sleep(0.02)
    return f"wrote to {customer}"


@shared_task(auto_retry=[ValueError, TypeError], max_retries=5, default_retry_delay=0.1)
def parse_number(text):
    return int(text)


@shared_task()
def area(width, height):
    return width * height


@shared_task(queue="suppliers")
async def ask_supplier(product, supplier):
    await asyncio.sleep(0.3)
    return {"supplier": supplier, "price": len(product) * 10 + len(supplier)}


@shared_task()
def thumbnail(image, width):
    """Bytes in, bytes out, and all that the processor can give."""
    with Image.open(io.BytesIO(image)) as original:
        small = original.resize((width, original.height * width // original.width), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "PNG")
    return {"png": out.getvalue(), "process": os.getpid()}
