"""Leave the terminal: go to the background, take another user, group and file mask."""

from __future__ import annotations

import grp
import os
import pwd
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click


def detach() -> Callable[[], None]:
    """Go on in the background: no terminal, a session of its own; gives what to call when all is well.

    Until then the calling process waits and errors are still shown; then it ends with 0, and the standard
    streams lead to nowhere. If we end before that, it ends with 1. Done before the app is imported, so
    nothing that it opens is lost.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os._exit(0 if os.read(reader, 1) else 1)
    os.close(reader)
    os.setsid()
    # A session's first process could get a terminal again by opening one; its child cannot.
    if os.fork():
        os._exit(0)
    return partial(_let_go, writer)


def _let_go(writer: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    if nowhere > 2:
        os.close(nowhere)
    os.write(writer, b"0")
    os.close(writer)


#: Set in a process that has begun again: the folder that the first one was started in.
_BEGUN_IN = "CELERIAC_BEGUN_IN"


def begun_again() -> bool:
    """Whether this process has been started by `begin_again`; what a start does once is done already."""
    return os.environ.pop(_BEGUN_IN, None) is not None


def begin_again(folder: str) -> None:
    """Start the same command in this same process: new code, same number. Does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.environ[_BEGUN_IN] = folder
    os.chdir(folder)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - what it was started as


def detachable(logfile: str | None) -> None:
    """Say it while somebody can still read it."""
    if logfile is None:
        raise click.UsageError("-D/--detach leaves the terminal, so the log needs a file: add -f FILE")
    folder = Path(logfile).parent
    if "%" in str(folder):
        return
    if not folder.is_dir():
        raise click.UsageError(f"-f {logfile}: there is no folder {folder}: make it (mkdir -p {folder})")
    if not os.access(folder, os.W_OK):
        raise click.UsageError(f"-f {logfile}: cannot write to the folder {folder}: name a file elsewhere")


def become(uid: str | None, gid: str | None, umask: str | None) -> None:
    """Take another file mask, group and user; names and numbers both do."""
    if umask is not None:
        try:
            os.umask(int(umask, 8))
        except ValueError:
            raise click.UsageError(f"--umask {umask}: give it in octal, as in 022") from None
    try:
        user = _user(uid) if uid is not None else None
        group = _group(gid) if gid is not None else user.pw_gid if user else None
    except KeyError as error:
        raise click.UsageError(f"--uid/--gid: {error.args[0]}") from None
    try:
        # Who is it already needs no right to become it: a worker that was started anew.
        if group is not None and group != os.getegid():
            os.setgid(group)
        if user is not None and user.pw_uid != os.geteuid():
            os.initgroups(user.pw_name, group if group is not None else user.pw_gid)
            os.setuid(user.pw_uid)
    except PermissionError:
        raise click.UsageError("--uid/--gid: only root may become another user") from None


def _user(uid: str) -> pwd.struct_passwd:
    return pwd.getpwuid(int(uid)) if uid.isdigit() else pwd.getpwnam(uid)


def _group(gid: str) -> int:
    return int(gid) if gid.isdigit() else grp.getgrnam(gid).gr_gid
