"""How one process tells another, at once and without polling, that there is something to see."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import select
import socket
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from celeriac.exceptions import CeleriacError

#: Bytes of a socket's path; the system allows 108 (104 on macOS) with a closing zero.
LONGEST_ADDRESS = 100
#: Bytes of a bell's name: a slash, the process, a dash, chance.
LONGEST_NAME = 24
#: Seconds between two looks where nobody can be rung, at first and at most.
FIRST_LOOK, LONGEST_LOOK = 0.001, 0.05
#: The name of somebody who looks by itself begins so.
LOOKER = "looks:"

# A bell of a process that ended, was never there, or lives where we may not reach it.
_NOBODY = {
    errno.ECONNREFUSED,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTSOCK,
    errno.EPROTOTYPE,
}


class Alarm(Protocol):
    """Tells its owner, when any process rings it, that there is something to see."""

    address: str

    def fileno(self) -> int | None:
        """What to poll for being told; None where one can only look."""

    def wait(self, seconds: float) -> bool:
        """Wait until it was told, or was woken, or the time is over; returns whether it was woken."""

    def wake(self) -> None:
        """End the present or the next wait; for any thread and for signal handlers."""


def open_alarm(path: str, version: Callable[[], object]) -> Alarm:
    """A bell for a user of this file; where there are no such sockets, one that looks at `version`."""
    if hasattr(socket, "AF_UNIX") and hasattr(select, "poll"):
        for folder, only_ours in _folders(path):
            with suppress(OSError):
                _prepare(folder, only_ours)
                return Bell(folder, path)
    return Looker(version)


def ring(addresses: Iterable[str]) -> list[str]:
    """Tell them; returns those where nobody is any more."""
    bells = [address for address in addresses if not address.startswith(LOOKER)]
    if not bells:
        return []
    nobody = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for address in bells:
            try:
                sender.sendto(b"!", address)
            except OSError as error:
                # What else may go wrong is a full box, and then it has been told already.
                if error.errno in _NOBODY:
                    nobody.append(address)
    return nobody


class Bell:
    """A socket with a name in the file system: it costs nothing while it is silent."""

    def __init__(self, folder: Path, path: str) -> None:
        self.address = str(folder / f"{os.getpid()}-{uuid4().hex[:12]}")
        self._path = path
        # Bare descriptors: under gevent a socket object belongs to one thread, and these are for all.
        self._ring, self._woken, self._wake = _bind(self.address, path), *os.pipe()
        for descriptor in (self._ring, self._woken, self._wake):
            os.set_blocking(descriptor, False)
        self._removal = weakref.finalize(self, _remove, os.getpid(), self.address)
        _bells.add(self)
        # They live as long as anybody can still call `wake`, also after the owner was closed; and where the
        # program ends, a thread may still wait for them.
        weakref.finalize(self, _close, (self._ring, self._woken, self._wake)).atexit = False

    def fileno(self) -> int:
        return self._ring

    def wait(self, seconds: float) -> bool:
        # Not by ourselves, as at the end of the program, where a thread may still be here.
        if not os.path.exists(self.address) and self._removal.alive:  # noqa: PTH110 - half the time of Path's
            self._bind_anew()
        # Looked up now, because gevent may have replaced it by one that lets other greenlets run.
        poller = select.poll()
        poller.register(self._ring, select.POLLIN)
        poller.register(self._woken, select.POLLIN)
        # Rounded up: a wait that ends before its time would be followed by many short ones.
        poller.poll(math.ceil(max(seconds, 0.0) * 1000))
        _drain(self._ring)
        return _drain(self._woken)

    def wake(self) -> None:
        with suppress(BlockingIOError):  # full: it will wake up anyway
            os.write(self._wake, b"!")

    def part_from_parent(self) -> None:
        """In a fork: go on with sockets of our own, so that the bell of the parent ends with the parent."""
        self._removal.detach()
        silent = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach()
        for ours, old in zip((silent, *os.pipe()), (self._ring, self._woken, self._wake), strict=True):
            os.dup2(ours, old, inheritable=False)
            os.close(ours)
            os.set_blocking(old, False)

    def _bind_anew(self) -> None:
        """Somebody has removed it, as one does who removes the file and all beside it."""
        with suppress(OSError):  # the folder is away: a wait has its net
            bell = _bind(self.address, self._path)
            os.dup2(bell, self._ring, inheritable=False)
            os.close(bell)
            os.set_blocking(self._ring, False)


class Looker:
    """Looks whether something changed, seldom when nothing does; for systems without sockets in files."""

    def __init__(self, version: Callable[[], object]) -> None:
        self.address = f"{LOOKER}{uuid4().hex}"
        self._version = version
        self._seen: object = None
        self._woken = False

    def fileno(self) -> None:
        """None."""

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        pause = FIRST_LOOK
        # What was seen is from before the caller looked itself, so nothing is missed between.
        before, self._seen = self._seen, self._look()
        while not self._woken and self._seen == before and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(pause * 1.3, LONGEST_LOOK)
            self._seen = self._look()
        woken, self._woken = self._woken, False
        return woken

    def _look(self) -> object:
        try:
            return self._version()
        except CeleriacError as error:
            # The caller will look itself, and say what is wrong.
            return error

    def wake(self) -> None:
        self._woken = True


_bells: weakref.WeakSet[Bell] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for bell in list(_bells):
        bell.part_from_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _folders(path: str) -> Iterator[tuple[Path, bool]]:
    """Beside the file, where every user of it can reach them; for a long path in a folder of ours alone."""
    beside = Path(f"{path}-bells")
    if path and len(os.fsencode(beside)) + LONGEST_NAME < LONGEST_ADDRESS:
        yield beside, False
    file = hashlib.blake2b(os.fsencode(path), digest_size=6).hexdigest()
    yield Path(tempfile.gettempdir(), f"celeriac-{os.getuid()}-{file}"), True


def _prepare(folder: Path, only_ours: bool) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if only_ours and folder.lstat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    _sweep(folder)


def _bind(address: str, path: str) -> int:
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        for _ in range(3):
            with suppress(FileNotFoundError):  # another process took the empty folder away
                bell.bind(address)
                break
            Path(address).parent.mkdir(mode=0o700, exist_ok=True)
        else:
            bell.bind(address)
        _share(Path(address), path)
        return bell.detach()
    except BaseException:
        bell.close()
        raise


def _share(address: Path, path: str) -> None:
    """Who may write the file may ring its bells."""
    if not path:
        return
    with suppress(OSError):
        rights = Path(path).stat().st_mode & 0o666
        address.chmod(rights)
        # Where one may read, one may enter.
        address.parent.chmod(0o700 | rights | (rights & 0o444) >> 2)


def _sweep(folder: Path) -> None:
    """Remove the bells of processes that were killed."""
    for bell in folder.iterdir():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe, suppress(FileNotFoundError):
            try:
                probe.connect(str(bell))
            except ConnectionRefusedError:
                bell.unlink()


def _close(descriptors: tuple[int, ...]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)


def _remove(pid: int, address: str) -> None:
    if os.getpid() == pid:  # and not a fork of it
        with suppress(OSError):
            os.unlink(address)  # noqa: PTH108 - may run when the interpreter ends, so it does little
            os.rmdir(os.path.dirname(address))  # noqa: PTH106, PTH120 - goes when the last bell is gone


def _drain(descriptor: int) -> bool:
    """Take all that is there to read; whether there was any."""
    any_read = False
    with suppress(BlockingIOError):
        while os.read(descriptor, 4096):
            any_read = True
    return any_read
