"""A command on its way to the workers, and their answers on the way back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Protocol

from celeriac.current import App
from celeriac.exceptions import DecodeError
from celeriac.logical import clock
from celeriac.ports import Bus
from celeriac.wire.broadcast import Answer, Command, new_tag, pack_command, unpack_answer

#: Seconds that a client waits for the next answer.
TIMEOUT = 1.0


class Speaker(App, Protocol):
    """An app that has a bus."""

    @property
    def bus(self) -> Bus: ...


class Conversation:
    """One command, said to all nodes or to some."""

    def __init__(self, app: Speaker) -> None:
        self._bus = app.bus
        self._exchange = f"{app.conf.control_exchange}.pidbox"
        self._reply_exchange = f"reply.{self._exchange}"

    def say(
        self,
        method: str,
        arguments: Mapping[str, Any],
        destination: Sequence[str] | None,
        pattern: str | None,
        matcher: str | None,
        *,
        ticket: str | None = None,
        box: str | None = None,
        keep: float = TIMEOUT,
    ) -> int:
        """Returns how many workers hear it."""
        command = Command(
            method=method,
            arguments=dict(arguments),
            destination=None if destination is None else list(destination),
            pattern=pattern,
            matcher=matcher,
            ticket=ticket,
            box=box,
            expires=time.time() + keep,
            clock=clock.tick(),
            tag=new_tag(),
        )
        return self._bus.say(self._exchange, pack_command(command, self._exchange, self._reply_exchange))

    def ask(
        self,
        method: str,
        arguments: Mapping[str, Any],
        destination: Sequence[str] | None,
        pattern: str | None,
        matcher: str | None,
        timeout: float,
        limit: int | None,
    ) -> Iterator[Answer]:
        """The answers as they come, until all have answered or none comes for `timeout` seconds."""
        ticket = new_tag()
        box = f"{new_tag()}.{self._reply_exchange}"
        with closing(self._bus.open_box(box)) as listening:
            heard = self.say(
                method, arguments, destination, pattern, matcher, ticket=ticket, box=box, keep=timeout
            )
            wanted = heard if destination is None else min(heard, len(set(destination)))
            if limit:
                wanted = min(wanted, limit)
            deadline = time.monotonic() + timeout
            while wanted > 0 and (left := deadline - time.monotonic()) > 0:
                for _, payload in listening.hear(left):
                    answer = _answer(payload, ticket)
                    if answer is not None:
                        yield answer
                        wanted -= 1
                    deadline = time.monotonic() + timeout


def _answer(payload: bytes, ticket: str) -> Answer | None:
    try:
        answer = unpack_answer(payload)
    except DecodeError:
        return None
    clock.hear(answer.clock)
    return answer if answer.ticket == ticket else None
