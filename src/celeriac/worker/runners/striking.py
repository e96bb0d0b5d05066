"""Raises an error in the task that another thread runs."""

from __future__ import annotations

import ctypes

from celeriac.worker.execute import Job

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc


def strike(job: Job, thread: int, error: type[BaseException]) -> None:
    """Takes effect when the thread runs Python again: a call into C is not cut short."""
    number, kind = ctypes.c_ulong(thread), ctypes.py_object(error)
    # Between the look and the strike the interpreter never changes threads: no other task can be hit.
    if job.running:
        _raise_in(number, kind)
