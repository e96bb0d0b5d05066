"""Where a sqlite:// URL points, and whether a queue may live there."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from celeriac.exceptions import ImproperlyConfigured

#: How much a commit does against a power loss; a kill -9 loses nothing with either.
SYNCHRONOUS = ("normal", "full")

#: The first with RETURNING.
OLDEST_SQLITE = (3, 35)
#: WAL needs memory that all processes share, and locks that hold: neither crosses a network.
NETWORK_FILE_SYSTEMS = frozenset(
    [
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("smb", "smb2", "smb3", "smbfs"),
        *("fuse.davfs2", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    ]
)


class Place(msgspec.Struct, frozen=True):
    """A file, or the memory of this process (no path)."""

    path: str
    synchronous: str = "normal"

    def __str__(self) -> str:
        return self.path or "sqlite:// (in memory)"

    @property
    def in_memory(self) -> bool:
        return not self.path

    def check(self) -> None:
        """Raise ImproperlyConfigured if no queue can live here."""
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise ImproperlyConfigured(
                f"This Python has SQLite {sqlite3.sqlite_version}, and {self} needs 3.35 or newer: use a "
                "newer Python, or redis://"
            )
        if self.in_memory:
            return
        folder = Path(self.path).parent
        if Path(self.path).is_dir():
            raise ImproperlyConfigured(
                f"{self.path} is a directory: name a file in it, as sqlite:///{self.path}/celeriac.db"
            )
        if not folder.is_dir():
            raise ImproperlyConfigured(
                f"The folder {folder} of {self.path} does not exist: create it (mkdir -p {folder}) or name "
                "another file"
            )
        file_system = file_system_of(folder, _read_mounts())
        if file_system in NETWORK_FILE_SYSTEMS:
            raise ImproperlyConfigured(
                f"{self.path} lies on a network file system ({file_system}), where SQLite cannot share it "
                "safely: name a file on a local disk, or use redis:// for several hosts"
            )


def read_url(url: str) -> Place:
    """`sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite://` for memory; `?synchronous=full`."""
    parts = urlsplit(url)
    if parts.netloc:
        raise ImproperlyConfigured(
            f"{url} names a host, and SQLite has none: write sqlite:///{parts.netloc}{parts.path} for a file "
            f"in the working directory or sqlite:////{parts.netloc}{parts.path} for an absolute path"
        )
    synchronous = "normal"
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name != "synchronous" or value.lower() not in SYNCHRONOUS:
            raise ImproperlyConfigured(
                f"{name}={value} in {url}: only synchronous=full and =normal (the default) are known"
            )
        synchronous = value.lower()
    path = unquote(parts.path.removeprefix("/"))
    if path in ("", ":memory:"):
        return Place("")
    return Place(os.path.abspath(path), synchronous)  # noqa: PTH100 - takes `..` out too


def file_system_of(folder: Path, mounts: str) -> str:
    """The type of the file system that holds a folder, as a mountinfo text tells; empty if it does not."""
    real = os.path.realpath(folder)
    best, found = "", ""
    for line in mounts.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split()
        if not dash or len(fields) < 5:
            continue
        point = _unescape(fields[4])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        # The last of equals covers the ones before it.
        if inside and len(point) >= len(best):
            best, found = point, after.split(maxsplit=1)[0]
    return found


def _unescape(point: str) -> str:
    # mountinfo writes blanks and backslashes as octal numbers.
    for octal, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(octal, plain)
    return point


def _read_mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""  # not Linux: nothing is known, so nothing is refused
