"""The same workflows in both libraries: written alike, and finished by either worker, whoever sends them."""

from __future__ import annotations

import json
from typing import Any

import pytest

import celeriac
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
from itertools import count

number = count()

def placed(name, args):
    return app.signature(name, args, queue=queues[next(number) % len(queues)])

def a(*args):
    return placed("shop.add", args)

def t(*args):
    return placed("shop.echo", args)

def e(*args):
    return [list(args), {}]

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
}
results = {name: (workflow.apply_async(), value) for name, (workflow, value) in cases.items()}
answer = {name: [result.get(timeout=20), value] for name, (result, value) in results.items()}
"""

WORDS = ("chain", "chord", "chunks", "group", "xmap", "xstarmap")


def here(ours: Any, code: str, **names: Any) -> Any:
    """Run the same code with celeriac."""
    space = {word: getattr(celeriac, word) for word in WORDS} | {"app": ours, "shop": shop, **names}
    exec(code, space)
    return space["answer"]


def test_both_write_workflows_alike(ours: Any, stock: Customer) -> None:
    imports = f"from celery import {', '.join(WORDS)}\n"
    theirs = stock(imports + WRITE, lines=WRITTEN)
    mine = here(ours, WRITE, lines=WRITTEN)
    for line, our_text, their_text in zip(WRITTEN, mine, theirs, strict=True):
        assert json.loads(our_text) == json.loads(their_text), line
        assert our_text == their_text, line


@pytest.mark.parametrize("queues", [[shop.THEIRS], [shop.OURS, shop.THEIRS]], ids=" ".join)
def test_workflows_of_ours_are_finished_by_either_worker(
    ours: Any, workers: Workers, queues: list[str]
) -> None:
    for name, (value, expected) in here(ours, RUN, queues=queues).items():
        assert value == expected, name


@pytest.mark.parametrize("queues", [[shop.OURS], [shop.OURS, shop.THEIRS]], ids=" ".join)
def test_workflows_of_stock_celery_are_finished_by_either_worker(
    stock: Customer, workers: Workers, queues: list[str]
) -> None:
    imports = f"from celery import {', '.join(WORDS)}\n"
    for name, (value, expected) in stock(imports + RUN, queues=queues).items():
        assert value == expected, name


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
