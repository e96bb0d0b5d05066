"""Leave the terminal: go to the background, take another user, group and file mask."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import click


def detach() -> None:
    """Go on in the background: no terminal, a session of its own, standard streams to nowhere.

    The calling process ends here with 0. Done before the app is imported, so nothing that it opens is lost.
    """
    if os.fork():
        os._exit(0)
    os.setsid()
    # A session's first process could get a terminal again by opening one; its child cannot.
    if os.fork():
        os._exit(0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    if nowhere > 2:
        os.close(nowhere)


def detachable(logfile: str | None) -> None:
    """Say it while somebody can still read it."""
    if logfile is None:
        raise click.UsageError("-D/--detach leaves the terminal, so the log needs a file: add -f FILE")
    folder = Path(logfile).parent
    if "%" not in str(folder) and not os.access(folder, os.W_OK):
        raise click.UsageError(f"-f {logfile}: cannot write to the folder {folder}")


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
        if group is not None:
            os.setgid(group)
        if user is not None:
            os.initgroups(user.pw_name, group if group is not None else user.pw_gid)
            os.setuid(user.pw_uid)
    except PermissionError:
        raise click.UsageError("--uid/--gid: only root may become another user") from None


def _user(uid: str) -> pwd.struct_passwd:
    return pwd.getpwuid(int(uid)) if uid.isdigit() else pwd.getpwnam(uid)


def _group(gid: str) -> int:
    return int(gid) if gid.isdigit() else grp.getgrnam(gid).gr_gid
