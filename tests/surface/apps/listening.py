"""An app that writes down every signal it hears: one JSON object a line, into the file LEDGER."""

from __future__ import annotations

import json
import os
from typing import Any

from celeriac import Celery, signals
from celeriac.compat import bootsteps
from celeriac.exceptions import Reject

app = Celery("listening", broker=os.environ["STORE"], backend=os.environ["STORE"], task_unknown_delay=0.1)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def fail() -> None:
    raise ValueError("no")


@app.task
def reject() -> None:
    raise Reject("no", requeue=False)


@app.task(bind=True)
def once_more(self: Any) -> int:
    if not self.request.retries:
        raise self.retry(countdown=0)
    return int(self.request.retries)


def _write(name: str, sender: Any, values: dict[str, Any]) -> None:
    line = json.dumps(
        {
            "name": name,
            "sender": type(sender).__name__,
            "said": {key: f"{type(value).__name__}:{value}" for key, value in values.items()},
            "pid": os.getpid(),
        }
    )
    descriptor = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode() + b"\n")
    os.close(descriptor)


def _listen(signal: signals.Signal) -> None:
    def hear(signal: signals.Signal, sender: Any, **values: Any) -> None:
        _write(str(signal.name), sender, values)

    signal.connect(hear, weak=False)


for _name, _signal in list(vars(signals).items()):
    # A receiver of setup_logging takes logging over, and then nobody would see the others.
    if isinstance(_signal, signals.Signal) and _name != "setup_logging":
        _listen(_signal)


@signals.celeryd_init.connect
def choose_queue(conf: Any, **_: Any) -> None:
    conf.task_default_queue = "chosen"


@signals.celeryd_after_setup.connect
def add_queue(sender: str, instance: Any, **_: Any) -> None:
    assert instance.hostname == sender
    assert instance.app is app
    instance.queues.append("added")
    instance.app.amqp.queues.select_add("selected")


class Step(bootsteps.StartStopStep):
    def __init__(self, parent: Any, **options: Any) -> None:
        assert options["pool"] == parent.pool

    def start(self, parent: Any) -> None:
        _write("step starts", parent, {})

    def stop(self, parent: Any) -> None:
        _write("step stops", parent, {})


app.steps["worker"].add(Step)


@signals.worker_ready.connect
def greet(sender: Any, **_: Any) -> None:
    sender.app.send_task("listening.add", (20, 22), queue="added", task_id="greeting")
    sender.app.send_task("listening.add", (20, 23), queue="selected", task_id="greeting by amqp")
