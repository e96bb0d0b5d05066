"""The tasks: they name no application, so nothing here imports main.py, and there is no circle."""

from celeriac import shared_task


@shared_task()
def count_words(text):
    words = len(text.split())
    print(f"counted {words} words")
    return words
