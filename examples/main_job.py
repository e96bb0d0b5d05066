"""The main job, `make run`: workers, a web server and real work of every kind, with nothing else installed.

It starts what you would start by hand: uvicorn with examples/showcase, and two workers, on the embedded
SQLite default in a temporary folder. Then it sends work over HTTP, shows how far it is, and prints what came
out. Without a terminal it ends by itself; on a terminal everything stays up, to try it by hand, until Ctrl-C.
"""

from __future__ import annotations

import io
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from showcase.display import Display
from showcase.programs import Programs

#: Seconds after which the job is a failure; it takes a small part of that.
DEADLINE = 90.0

CUSTOMERS = 40
QUOTES = 20
PICTURES = 4
WIDTHS = (64, 128, 256, 512, 1024)

#: A task's result as the showcase tells it: {"state": ..., "result": ...}.
Result = dict[str, Any]


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    display = Display()
    with tempfile.TemporaryDirectory(prefix="celeriac-") as folder, Programs(Path(folder)) as programs:
        try:
            address = run(programs, display)
        except Exception as error:
            display.say(f"The main job failed: {error!r}")
            for name in programs.running:
                display.say(f"--- the last that {name} printed\n{programs.printed(name)[-3000:]}")
            return 1
        if display.live:
            try:
                display.say(
                    f"\nTry it by hand: {address}/docs (what the programs print: {folder}). Ctrl-C ends it."
                )
                signal.pause()
            except KeyboardInterrupt:
                print()
        else:
            display.say(f"On a terminal it would stay up now, at {address}/docs. All done.")
    return 0


def run(programs: Programs, display: Display) -> str:
    """Start, send, watch, check; gives the address of the web server."""
    address = programs.start_web_server()
    processes = max(2, os.cpu_count() or 2)
    programs.start_worker("heavy", "-c", str(processes))
    display.say(
        f"The web server is at {address}, a worker with {processes} processes serves the queue celery,"
    )
    display.say(f"messages and results lie in {programs.folder / 'celeriac.db'}")
    with (
        httpx.Client(base_url=address, timeout=60, trust_env=False) as web,
        ThreadPoolExecutor(QUOTES) as threads,
    ):
        orders = post(web, "/orders", customers=CUSTOMERS)
        waiting = programs.ask("queue", "peek", "low_priority", "-n", "100")
        display.say("Nobody serves the queue low_priority yet; the first who wait there:")
        display.say("\n".join(waiting.splitlines()[:6]))
        programs.start_worker(
            "light", "-P", "asyncio", "-c", "50", "-Q", "high_priority,low_priority,suppliers"
        )
        with display:
            sent = send_everything(web, display, orders)
            quotes = [threads.submit(get, web, "/quote", product="tea" * n) for n in range(1, QUOTES + 1)]
            display.add("awaited quotes", QUOTES)
            results = watch(web, display, programs, sent, lambda: sum(quote.done() for quote in quotes))
        display.row("awaited quotes", f"the cheapest: {quotes[0].result()}")
        tell(display, results, programs)
        tell_three_ways(display, web)
    display.show_table()
    return address


def send_everything(web: httpx.Client, display: Display, orders: list[str]) -> dict[str, list[str]]:
    """The ids of what was sent, by kind of work."""
    sent = {"two queues": orders}
    sent["background tasks"] = [
        task_id
        for title in ("sales", "costs", "staff", "stock")
        for task_id in post(web, "/reports", title=title)
    ]
    sent["retries"] = post(web, "/numbers", text="12") + post(web, "/numbers", text="twelve")
    sent["thumbnails"] = [
        task_id
        for picture in generated_pictures()
        for task_id in post(web, "/thumbnails", content=picture, widths=WIDTHS)
    ]
    for name, ids in sent.items():
        display.add(name, len(ids))
    return sent


def watch(
    web: httpx.Client,
    display: Display,
    programs: Programs,
    sent: dict[str, list[str]],
    quotes_done: Callable[[], int],
) -> dict[str, list[Result]]:
    """Show how far everything is until all of it is done."""
    deadline = time.monotonic() + DEADLINE
    while True:
        results = {name: get(web, "/results", ids=ids) for name, ids in sent.items()}
        for name, answers in results.items():
            display.done(name, sum(answer["state"] in {"SUCCESS", "FAILURE"} for answer in answers))
        display.done("awaited quotes", quotes_done())
        if display.all_done():
            return results
        if ended := programs.ended():
            raise RuntimeError(f"{' and '.join(ended)} ended too early")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all was done after {DEADLINE:.0f} s")
        time.sleep(0.1)


def tell(display: Display, results: dict[str, list[Result]], programs: Programs) -> None:
    """One row for each kind; what is not as it must be is an error."""
    values = {name: [answer["result"] for answer in answers] for name, answers in results.items()}
    parsed, failed = results["retries"]
    retries = programs.printed("heavy").count("retry: Retry in")
    expect(parsed == {"state": "SUCCESS", "result": 12}, parsed)
    expect(failed["state"] == "FAILURE" and retries == 5, (failed, retries))
    for name in ("two queues", "background tasks", "thumbnails"):
        expect(all(answer["state"] == "SUCCESS" for answer in results[name]), results[name])
    processes = {value["process"] for value in values["thumbnails"]}
    display.row("two queues", f"{values['two queues'][-1]}; {values['two queues'][0]}")
    display.row("background tasks", ", ".join(values["background tasks"]))
    display.row("retries", f"'12' is {parsed['result']}; 'twelve' {failed['result']} after {retries} retries")
    display.row(
        "thumbnails", f"made by {len(processes)} processes; {values['thumbnails'][-1]['png']} the last"
    )


def tell_three_ways(display: Display, web: httpx.Client) -> None:
    display.add("three ways to call", 3)
    answer = get(web, "/area", width=6, height=7)
    expect(set(answer.values()) == {42}, answer)
    display.done("three ways to call", 3)
    display.row("three ways to call", ", ".join(f"{way}: {value}" for way, value in answer.items()))


def generated_pictures() -> Iterable[bytes]:
    """Coloured noise made large: something that costs a processor time to make small again."""
    chance = random.Random(7)
    for _ in range(PICTURES):
        noise = Image.frombytes("RGB", (64, 48), chance.randbytes(64 * 48 * 3))
        out = io.BytesIO()
        noise.resize((2048, 1536), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
        yield out.getvalue()


def post(web: httpx.Client, path: str, content: bytes = b"", **query: Any) -> list[str]:
    ids: list[str] = web.post(path, params=query, content=content).raise_for_status().json()["ids"]
    return ids


def get(web: httpx.Client, path: str, **query: Any) -> Any:
    return web.get(path, params=query).raise_for_status().json()


def expect(holds: bool, seen: object) -> None:
    if not holds:
        raise RuntimeError(f"not what was expected: {seen}")


if __name__ == "__main__":
    sys.exit(main())
