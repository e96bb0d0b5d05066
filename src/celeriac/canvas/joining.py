"""What `a | b` gives, for signatures of every kind."""

from __future__ import annotations

from celeriac.canvas.chain import chain
from celeriac.canvas.chord import chord
from celeriac.canvas.group import group
from celeriac.canvas.later import Later
from celeriac.canvas.signature import Signature


def joined(left: Signature, right: Signature) -> Signature:
    """Left, then right with its value."""
    app = left._app or right._app
    steps = [*_steps(left)]
    for step in _steps(_unrolled(right)):
        _append(steps, step)
    return steps[0] if len(steps) == 1 else chain.of(steps, app)


def _append(steps: list[Signature], step: Signature) -> None:
    last = steps[-1] if steps else None
    if isinstance(last, group):
        # All of them must be through before anything can follow: that is a chord.
        steps[-1] = chord(last.tasks, step, app=last._app, **last.options)
        if len(steps) > 1 and isinstance(steps[-2], chord):
            _append(steps, steps.pop())
    elif isinstance(last, chord) and not isinstance(step, group):
        made = last.clone()
        assert isinstance(made, chord)
        made.body = step if made.body is None else joined(made.body, step)
        steps[-1] = made
    else:
        steps.append(step)


def _steps(signature: Signature) -> list[Signature]:
    if type(signature) is chain:
        return signature.unchain_tasks() if signature.tasks else []
    return [signature if _is_late(signature) else signature.clone()]


def _unrolled(signature: Signature) -> Signature:
    """A group of one is that one, for what comes before it; unless somebody waits for it as a group."""
    while isinstance(signature, group) and not _is_late(signature):
        if len(signature.tasks) != 1 or signature.id:
            break
        signature = signature.tasks[0].clone((), {}, **signature.options)
    return signature


def _is_late(signature: Signature) -> bool:
    """Its tasks come from a generator that nobody has gone through yet."""
    return isinstance(signature, group | chord) and isinstance(signature.tasks, Later)


Signature.joined = staticmethod(joined)
