"""A thumbnail of an image: bytes in, bytes out, and as much processor as it can get."""

import io
import os

from PIL import Image

from celeriac import shared_task


@shared_task()
def thumbnail(image, width):
    with Image.open(io.BytesIO(image)) as original:
        small = original.resize((width, original.height * width // original.width), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "PNG")
    print(f"made {small.width} x {small.height}")
    return {"png": out.getvalue(), "process": os.getpid()}
