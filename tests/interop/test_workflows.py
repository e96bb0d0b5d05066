"""The same workflows in both libraries: written alike, and finished by either worker, whoever sends them."""

from __future__ import annotations

import json
from typing import Any

import pytest

import celeriac
from celeriac.canvas import StampingVisitor
from celeriac.exceptions import ChordError
from interop import shop
from interop.conftest import Customer, Workers

#: Both libraries have to write these alike. `a` adds, `t` echoes.
WRITTEN = """
a(1)
a(1, y=2)
a(1) | a(2)
a(1) | a(2) | a(3)
group([a(1), a(2)])
group([a(1), a(2)], queue="x")
chord([a(1), a(2)], t())
group(a(1), a(2)) | t()
a(1) | group(a(1), a(2))
a(1) | group(a(1), a(2)) | t()
a(1) | a(0) | group(a(1), a(2)) | t() | a(9)
group(a(1), a(2)) | group(t(), t())
group(a(1), a(2)) | group(t(), t()) | t()
chord([a(1)], t()) | chord([a(5), a(6)], t())
chord([a(1), a(2)], t()) | a(4)
chord([a(1), a(2)], t()) | group(a(4), a(5))
group(a(1)) | a(2)
a(1) | group(a(2))
a(1) | group()
group() | a(1)
chain(a(1), group(a(1), a(2)), t())
group(a(1), group(a(2), a(3)))
group(a(1) | a(2), a(3))
chain(a(1), chain(a(2), a(3)))
chord([a(1)], t() | a(2))
chord(group(a(1), a(2)), t())
chunks(a(), [(1, 2), (3, 4), (5, 6)], 2)
xmap(a(), [1, 2, 3])
xstarmap(a(), [(1, 2), (3, 4)])
chain()
linked(group(a(1), a(2)))
linked(a(1) | a(2))
linked(chord([a(1)], t()))
failing(group(a(1), a(2)))
failing(a(1) | a(2))
failing(chord([a(1)], t()))
""".strip().splitlines()

WRITE = """
import json

def a(*args, **kwargs):
    return app.signature("shop.add", args, kwargs)

def t(*args):
    return app.signature("shop.echo", args)

def linked(made):
    made.link(a(7))
    return made

def failing(made):
    made.link_error(a(7))
    return made

answer = [json.dumps(eval(line)) for line in lines]
"""

#: Workflows by name, with their values. `a` adds, `t` echoes; each task goes to the next of the queues.
RUN = """
import redis
from itertools import count
from time import monotonic, sleep
from uuid import uuid4

number = count()

def placed(name, args):
    return app.signature(name, args, queue=queues[next(number) % len(queues)])

def a(*args):
    return placed("shop.add", args)

def t(*args):
    return placed("shop.echo", args)

def e(*args):
    return [list(args), {}]

def still(name, *args):
    return placed(name, args).set(immutable=True)

def look():
    return placed("shop.look", ())

def mapped(kind, items):
    return kind(app.signature("shop.add"), items).set(queue=queues[next(number) % len(queues)])

def cut(items, n):
    return chunks(app.signature("shop.add"), items, n).group().set(queue=queues[0])

def swapped(*args):
    return placed("shop.swap", args)

class Marks(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {"of": "sig", "stamped_headers": ["of"]}

    def on_chain_start(self, sig, **headers):
        return {"in": "chain", "stamped_headers": ["in"]}

    def on_chord_header_start(self, sig, **headers):
        return {"in": "chain" if headers else "header", "stamped_headers": ["in"]}

def stamped(workflow):
    workflow.stamp(visitor=Marks())
    return workflow

def stamps_seen(value):
    return [dict(seen["stamps"]) for seen in value[0][0] if isinstance(seen, dict)]

def heard(notes):
    store = redis.Redis.from_url(app.conf.broker_url, decode_responses=True)
    deadline = monotonic() + patience
    for ledger in notes:
        while not store.llen(ledger) and monotonic() < deadline:
            sleep(0.01)
    return {ledger: store.lrange(ledger, 0, -1) for ledger in notes}

cases = {
    "group": (group([a(n) for n in range(5)]), list(range(5))),
    "chord": (chord([a(1), a(2)], t()), e([1, 2])),
    "chain with a group at its end": (a(1) | group(a(1), a(2)), [2, 3]),
    "chain with a chord within": (a(1) | group(a(1), a(2)) | t() | t(), e(e([2, 3]))),
    "two groups": (group(a(1), a(2)) | group(t(), t()) | t(), e([e([1, 2])] * 2)),
    "chord of chords": (chord([chord([a(1), a(3)], t()), a(5)], t()), e([e([1, 3]), 5])),
    "chord of chains": (chord([a(1) | a(2), a(3) | a(4) | a(5), a(1)], t()), e([3, 12, 1])),
    "chord of chains with groups": (chord([a(1) | group(a(2), a(3)), a(9)], t()), e([[3, 4], 9])),
    "two chords": (chord([a(1), a(2)], t()) | chord([t(), t()], t()), e([e(e([1, 2]))] * 2)),
    "group of chords": (group(chord([a(1), a(2)], t()), a(9)), [e([1, 2]), 9]),
    "immutable": (a(1) | still("shop.add", 2, 3) | group(a(1), still("shop.add", 4)), [6, 4]),
    "map": (mapped(xmap, [1, 2, 3]), [1, 2, 3]),
    "starmap": (chord([mapped(xstarmap, [(1, 2), (3, 4)]), a(9)], t()), e([[3, 7], 9])),
    "chunks": (cut([(1, 2), (3, 4), (5, 6)], 2), [[3, 7], [11]]),
    "replaced by a chain": (swapped(1, "chain") | a(1), 1112),
    "replaced by a chord": (chord([swapped(1, "chord"), a(9)], t()) | t(), e(e([e([1, 2]), 9]))),
    "body of chains": (chord([a(1), a(2)], chain(t(), group(t(), t()), t())), e([e(e([1, 2]))] * 2)),
    "deep": (chord([chain(a(1), group(chain(a(1), a(1)), chord([a(1), a(2)], t())), t()), a(2)], t() | t()),
             e(e([e([3, e([2, 3])]), 2]))),
    "stamped": (stamped(a(1) | group(look(), look()) | t()), [{"of": "sig", "in": "chain"}] * 2, stamps_seen),
    "stamped header": (stamped(chord([look(), a(1)], t())), [{"of": "sig", "in": "header"}], stamps_seen),
}
if "ours" in queues:
    # A stock worker that is replaced by a group sends what lists its values to the default queue.
    swap = app.signature("shop.swap", (1, "group"), queue="ours")
    cases["replaced by a group"] = chord([swap, a(9)], t()), e([[2, 3], 9])
results = {name: (case[0].apply_async(), *case[1:]) for name, case in cases.items()}
answer = {}
for name, (result, value, *pick) in results.items():
    try:
        came = result.get(timeout=patience)
    except Exception as error:
        came, pick = repr(error), ()
    answer[name] = [pick[0](came) if pick else came, value]

# A link and an errback, on every level that takes one.
notes = {}
for name, make in {
    "task": lambda: a(1),
    "chain": lambda: a(1) | a(2),
    "chord": lambda: chord([a(1), a(2)], t()),
}.items():
    workflow, ledger = make(), f"linked:{name}:{queues}:{uuid4()}"
    workflow.link(still("shop.note", ledger, name))
    workflow.apply_async()
    notes[ledger] = [name]
for name, make in {
    "broken chain": lambda: a(1) | placed("shop.boom", ()) | a(1),
    "broken chord": lambda: chord([placed("shop.boom", ()), a(1)], t()),
    "broken chain in a chord": lambda: chord([a(1) | placed("shop.boom", ()) | a(1), a(2)], t() | t()),
}.items():
    workflow, ledger = make(), f"unlinked:{name}:{queues}:{uuid4()}"
    workflow.link_error(still("shop.note", ledger, name))
    workflow.apply_async()
    notes[ledger] = [name]
answer["notes"] = [heard(notes), notes]
"""

#: Seconds that a workflow may take on a loaded machine.
PATIENCE = 5

WORDS = ("chain", "chord", "chunks", "group", "xmap", "xstarmap")
IMPORTS = f"from celery import {', '.join(WORDS)}\nfrom celery.canvas import StampingVisitor\n"


def here(ours: Any, code: str, **names: Any) -> Any:
    """Run the same code with celeriac."""
    space = {word: getattr(celeriac, word) for word in WORDS} | {
        "app": ours,
        "shop": shop,
        "StampingVisitor": StampingVisitor,
        **names,
    }
    exec(code, space)
    return space["answer"]


def compare(answer: dict[str, Any]) -> None:
    notes, expected = answer.pop("notes")
    answer |= {ledger: [notes[ledger], expected[ledger]] for ledger in expected}
    assert not "\n".join(f"{name}: {a!r}, not {b!r}" for name, (a, b) in answer.items() if a != b)


def test_both_write_workflows_alike(ours: Any, stock: Customer) -> None:
    theirs = stock(IMPORTS + WRITE, lines=WRITTEN)
    mine = here(ours, WRITE, lines=WRITTEN)
    for line, our_text, their_text in zip(WRITTEN, mine, theirs, strict=True):
        assert json.loads(our_text) == json.loads(their_text), line
        assert our_text == their_text, line


@pytest.mark.parametrize("queues", [[shop.THEIRS], [shop.OURS, shop.THEIRS]], ids=" ".join)
def test_workflows_of_ours_are_finished_by_either_worker(
    ours: Any, workers: Workers, queues: list[str]
) -> None:
    compare(here(ours, RUN, queues=queues, patience=PATIENCE))


@pytest.mark.parametrize("queues", [[shop.OURS], [shop.OURS, shop.THEIRS]], ids=" ".join)
def test_workflows_of_stock_celery_are_finished_by_either_worker(
    stock: Customer, workers: Workers, queues: list[str]
) -> None:
    compare(stock(IMPORTS + RUN, queues=queues, patience=PATIENCE))


@pytest.mark.parametrize("last", [shop.OURS, shop.THEIRS])
def test_a_member_that_fails_elsewhere_fails_the_body_here(ours: Any, workers: Workers, last: str) -> None:
    other = shop.THEIRS if last == shop.OURS else shop.OURS
    header = [
        ours.signature("shop.boom", queue=other),
        ours.signature("shop.add", (1,), queue=last, countdown=0.5),
    ]
    result = celeriac.chord(header, ours.signature("shop.echo", queue=last)).apply_async()
    with pytest.raises(ChordError, match=r"raised ValueError\('no', 7\)"):
        result.get(timeout=20)
