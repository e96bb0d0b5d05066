"""Calls as values, and how they are joined: signatures, chains, groups, chords."""

from __future__ import annotations

from celeriac.canvas import joining
from celeriac.canvas.chain import chain
from celeriac.canvas.chord import chord
from celeriac.canvas.following import (
    call_errbacks,
    errbacks_by_id,
    error_follow_ups,
    follow_ups,
    has_errbacks_here,
)
from celeriac.canvas.group import group
from celeriac.canvas.mapped import chunks, xmap, xstarmap
from celeriac.canvas.of_task import TaskSignature
from celeriac.canvas.publishing import messages_of
from celeriac.canvas.signature import (
    Call,
    Prepared,
    Signature,
    maybe_signature,
    maybe_subtask,
    signature,
    subtask,
)
from celeriac.canvas.stamping import StampingVisitor

__all__ = [
    "Call",
    "Prepared",
    "Signature",
    "StampingVisitor",
    "TaskSignature",
    "call_errbacks",
    "chain",
    "chord",
    "chunks",
    "errbacks_by_id",
    "error_follow_ups",
    "follow_ups",
    "group",
    "has_errbacks_here",
    "joining",
    "maybe_signature",
    "maybe_subtask",
    "messages_of",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
