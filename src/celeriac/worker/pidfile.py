"""A file with the number of the process that runs, so that a program is not started twice."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from celeriac.exceptions import ImproperlyConfigured


@contextlib.contextmanager
def pidfile(path: str | None, program: str = "worker") -> Iterator[None]:
    """Inside, the file holds our number. Refuses to begin while another process of that file runs."""
    if path is None:
        yield
        return
    _refuse_to_start_twice(path, program)
    try:
        with open(path, "x") as file:  # of two that start at once, one
            file.write(f"{os.getpid()}\n")
    except FileNotFoundError as error:
        folder = Path(path).parent
        raise ImproperlyConfigured(
            f"--pidfile {path} cannot be written: there is no folder {folder}: make it (mkdir -p {folder})"
        ) from error
    except OSError as error:
        raise ImproperlyConfigured(f"--pidfile {path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            Path(path).unlink()


def _refuse_to_start_twice(path: str, program: str) -> None:
    try:
        with open(path) as file:
            pid = int(file.read())
    except FileNotFoundError:
        return
    except ValueError:
        pid = 0
    if not _is_another(pid):
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()
        return
    raise ImproperlyConfigured(
        f"the pidfile {path} belongs to process {pid}, which runs: is the {program} started already?"
    )


def _is_another(pid: int) -> bool:
    """Whether a process of that number lives. In a container we may well have the number of the last one."""
    if pid <= 0 or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False  # it died without removing its file, or what stands there is no number of a process
    except PermissionError:
        pass
    return True
