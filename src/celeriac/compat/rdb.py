"""`celery.contrib.rdb`: a debugger in a running task, reached by telnet.

    from celery.contrib import rdb

    @app.task
    def add(x, y):
        rdb.set_trace()         # the log says where to connect: telnet 127.0.0.1 6899
        return x + y

It is Python's own pdb. Until somebody has come and said `continue`, the task waits. Whoever can connect can
do all that the worker can: it listens to this machine alone unless CELERY_RDB_HOST says otherwise.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sys
from pdb import Pdb
from types import FrameType
from typing import Any, TextIO

__all__ = ["CELERY_RDB_HOST", "CELERY_RDB_PORT", "DEFAULT_PORT", "Rdb", "debugger", "set_trace"]

DEFAULT_PORT = 6899
CELERY_RDB_HOST = os.environ.get("CELERY_RDB_HOST") or "127.0.0.1"
CELERY_RDB_PORT = int(os.environ.get("CELERY_RDB_PORT") or DEFAULT_PORT)

_log = logging.getLogger("celery.contrib.rdb")

#: The session that is open in this process.
_session: Rdb | None = None


def debugger() -> Rdb:
    """The open session of this process, or a new one as soon as somebody has connected."""
    return _session or Rdb()


def set_trace(frame: FrameType | None = None) -> None:
    """Stop here, in the frame that calls this, and wait for somebody to look."""
    debugger().set_trace(frame or sys._getframe().f_back)


class Rdb(Pdb):
    """One session, for one who connects. The first free port from `port` on is taken, for each child of a
    worker may have a session."""

    def __init__(
        self,
        host: str = CELERY_RDB_HOST,
        port: int = CELERY_RDB_PORT,
        port_search_limit: int = 100,
        port_skew: int = 0,
        out: TextIO | None = None,
    ) -> None:
        global _session
        with _listening(host, port + port_skew, port_search_limit) as listener:
            self.host, self.port = listener.getsockname()[:2]
            self._say(f"Task waits for its debugger: telnet {self.host} {self.port}", out)
            self._client, address = listener.accept()
        self._say(f"Debugger is used from {address[0]}:{address[1]}", out)
        # Two of them: a text file for both forgets what it has read ahead whenever it writes.
        self._ends: tuple[Any, ...] = tuple(
            self._client.makefile(mode, encoding="utf-8", errors="replace") for mode in ("r", "w")
        )
        super().__init__(stdin=self._ends[0], stdout=self._ends[1], nosigint=True)
        self.prompt = "(Rdb) "
        _session = self

    def interaction(self, *where: Any) -> None:
        """One stop: lines are read and obeyed until one of them goes on."""
        try:
            super().interaction(*where)
        except OSError:
            self.do_EOF("")  # the connection broke: the task has nothing to do with that

    def do_continue(self, arg: str) -> Any:
        """Go on; the session ends unless there are breakpoints."""
        ended = super().do_continue(arg)
        if not self.breaks:
            self.close()
        return ended

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> Any:
        """End the task here, with bdb.BdbQuit, and the session."""
        ended = super().do_quit(arg)
        self.close()
        return ended

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> Any:
        """Who looked has gone: go on."""
        self.clear_all_breaks()
        return self.do_continue(arg)

    def close(self) -> None:
        """End the session; may be called twice."""
        global _session
        if _session is self:
            _session = None
        for end in (*self._ends, self._client):
            with contextlib.suppress(OSError):
                end.close()

    def _say(self, text: str, out: TextIO | None) -> None:
        if out is None:
            _log.warning(text)
        else:
            print(text, file=out, flush=True)


def _listening(host: str, port: int, tries: int) -> socket.socket:
    for candidate in range(port, port + tries):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            listener.listen(1)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return listener
    raise OSError(
        f"no port of {host} from {port} to {port + tries - 1} is free for a debugger: "
        "set CELERY_RDB_PORT to another one"
    )
