"""One connection for each file in this process: its transactions, its patience, its errors, its forks.

One connection and not one for each thread: writers of one file wait for each other anyway, a lock hands over
in microseconds where SQLite would sleep for milliseconds, and the page cache stays valid while nobody else
writes. It also lets `sqlite://` be a plain in-memory database that the threads share.
"""

from __future__ import annotations

import atexit
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from typing import TypeVar

from celeriac.drivers.sqlite.place import Place
from celeriac.exceptions import CeleriacError, ImproperlyConfigured, OperationalError

T = TypeVar("T")

#: "CLRY": says in the file's header whose it is.
APPLICATION_ID = 0x434C5259
#: Of schema.sql.
SCHEMA_VERSION = 8
#: Seconds between two tries for a busy file, at first and at most. A turn holds it for some 0.1 to 1 ms.
FIRST_PAUSE, LONGEST_PAUSE = 0.0002, 0.002
#: Bytes of the log (WAL) after which it is copied into the file, so that one fsync serves a thousand turns.
LONGEST_LOG = 16 << 20
#: Milliseconds that emptying the log waits for other processes that write all the time.
CHECKPOINT_PATIENCE = 250
#: Seconds that a fork waits for a transaction of another thread to end.
FORK_PATIENCE = 5.0


class Store:
    """A file that this process has open. `Store.opened(place)` shares it, `release()` gives it back."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._lock = threading.Lock()
        self._users = 0
        self._handle: sqlite3.Connection | None = None
        #: Of the file that was opened last; None: none was yet.
        self._inode: tuple[int, int] | None = None
        #: Where SQLite keeps the log: beside the file itself, also where its name is a link to it.
        self._log = ""
        #: Bytes of the log at which it is emptied, or tried again if somebody was in the way.
        self._checkpoint_at = LONGEST_LOG
        #: Grows with every transaction of this process that changed something.
        self._changes = 0

    @staticmethod
    def opened(place: Place, patience: float) -> Store:
        """The store of this place, with one more user; opened now, so that what is wrong is said at once."""
        with _registry:
            store = _stores.setdefault(place, Store(place))
            store._users += 1
        try:
            store.read(lambda _: None, patience)
        except BaseException:
            store.release()
            raise
        return store

    def release(self) -> None:
        """One user less; the last one closes the file."""
        with _registry:
            self._users -= 1
            if self._users > 0:
                return
            if _stores.get(self.place) is self:
                del _stores[self.place]
        with self._lock:
            self._close()

    def write(self, work: Callable[[sqlite3.Connection], T], patience: float) -> T:
        """Do work in one transaction that is alone in the file; all of it happens or none."""
        return self._transact("BEGIN IMMEDIATE", work, patience)

    def read(self, work: Callable[[sqlite3.Connection], T], patience: float) -> T:
        """Do work that changes nothing, in one snapshot, and hold up no writer of another process."""
        return self._transact("BEGIN", work, patience)

    def version(self, patience: float) -> tuple[int, int]:
        """Differs whenever something was changed, by this process or by another."""
        data = self.read(lambda db: int(db.execute("PRAGMA data_version").fetchone()[0]), patience)
        return data, self._changes

    def _transact(self, begin: str, work: Callable[[sqlite3.Connection], T], patience: float) -> T:
        """`work` may be called again after it failed, so it changes nothing but the database."""
        deadline = time.monotonic() + patience
        pause = FIRST_PAUSE
        full = False
        while True:
            try:
                with self._lock:
                    if full:
                        # What the log holds may have its place in the file: then it is written from its
                        # start again, and what is done needs no more of the disk.
                        self._empty_log()
                    return self._try(begin, work)
            except sqlite3.Error as error:
                if not full and _code(error) == sqlite3.SQLITE_FULL:
                    full = True
                    # Or else as soon as there is some space, before the log takes that too.
                    self._checkpoint_at = 0
                    continue
                if not _is_busy(error) or time.monotonic() >= deadline:
                    raise self._explained(error, patience) from error
            # Without the lock: who only reads need not wait for another process that writes.
            time.sleep(random.uniform(0.5, 1.0) * pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _try(self, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
        db = self._open()
        before = db.total_changes
        try:
            db.execute(begin)
            answer = work(db)
            db.execute("COMMIT")
        except BaseException:
            # Also what a signal handler raises in the middle, as a soft time limit does.
            self._roll_back()
            raise
        if db.total_changes != before:
            self._changes += 1
            self._keep_log_short()
        return answer

    def _keep_log_short(self) -> None:
        """Empty the log when it is long; SQLite's own way never ends while others write all the time."""
        if self.place.in_memory:
            return
        size = _size_of(self._log)
        if size <= self._checkpoint_at:
            if size <= LONGEST_LOG:
                self._checkpoint_at = LONGEST_LOG
            return
        self._checkpoint_at = size + LONGEST_LOG // 4
        self._empty_log()

    def _empty_log(self) -> None:
        db = self._handle
        if db is None:
            return
        # If this fails, the next transaction meets the same trouble and says it.
        with suppress(sqlite3.Error):
            # Most of the work beside the others, and only the rest while they have to wait.
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            db.execute(f"PRAGMA busy_timeout = {CHECKPOINT_PATIENCE}")
            try:
                db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            finally:
                db.execute("PRAGMA busy_timeout = 0")

    def _open(self) -> sqlite3.Connection:
        if self._handle is not None:
            if self.place.in_memory or self._inode == _inode_of(self.place.path):
                return self._handle
            # Somebody removed or replaced the file: what we wrote into the old one nobody would ever see.
            self._close()
        if self._users <= 0:
            raise OperationalError(f"{self.place} was closed before")
        self._check()
        handle = sqlite3.connect(
            self.place.path or ":memory:",
            # No sleeping inside SQLite: it would hold up all greenlets, and sleeps longer than a turn lasts.
            timeout=0.0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            self._prepare(handle)
        except BaseException:
            handle.close()
            raise
        self._handle = handle
        if not self.place.in_memory:
            self._inode = _inode_of(self.place.path)
            self._log = os.path.realpath(self.place.path) + "-wal"
        return handle

    def _check(self) -> None:
        try:
            self.place.check()
        except ImproperlyConfigured as error:
            if self._inode is None:
                raise
            # It was well before, so this is trouble that may pass: a folder that is moved, or mounted anew.
            raise OperationalError(str(error)) from error

    def _prepare(self, db: sqlite3.Connection) -> None:
        self._recognise(db)
        if not self.place.in_memory and db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise ImproperlyConfigured(
                f"{self.place} cannot be shared by several processes, for its file system does not allow "
                "SQLite's WAL: name a file on a local disk"
            )
        db.execute(f"PRAGMA synchronous = {self.place.synchronous}")
        # See _keep_log_short. A log that was emptied is written again from its start, and what it has beyond
        # this limit is cut off: so its size tells whether it has just grown beyond it.
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute(f"PRAGMA journal_size_limit = {LONGEST_LOG}")
        db.execute("PRAGMA cache_size = -16384")
        db.execute("PRAGMA temp_store = MEMORY")
        # Some builds overwrite with zeros whatever is deleted: a page written twice for each message.
        db.execute("PRAGMA secure_delete = OFF")
        if db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
            return
        db.execute("BEGIN IMMEDIATE")
        if not self._recognise(db):
            for statement in _schema():
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")

    def _recognise(self, db: sqlite3.Connection) -> bool:
        """Whether the file has our tables already; raises if it is somebody else's."""
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not tables:
            return False
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise ImproperlyConfigured(
                f"{self.place} is the database of something else: give celeriac a file of its own"
            )
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            raise ImproperlyConfigured(
                f"{self.place} has format {version}, and this celeriac knows {SCHEMA_VERSION}: use the one "
                "that wrote it, or let its workers finish what is in it and remove the file"
            )
        return True

    def _roll_back(self) -> None:
        if self._handle is not None and self._handle.in_transaction:
            try:
                self._handle.execute("ROLLBACK")
            except sqlite3.Error:
                # A connection that cannot even roll back is of no use: the file is as it was before.
                self._close()

    def _close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def _explained(self, error: sqlite3.Error, patience: float) -> CeleriacError:
        code = _code(error)
        said = f"{self.place}: {error}"
        match code:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return OperationalError(
                    f"{said}; another process held it for {patience:g} s: see who has it open "
                    f"(fuser {self.place.path})"
                )
            case sqlite3.SQLITE_FULL:
                return OperationalError(
                    f"{said}; nothing was stored: free some space on its disk and try again"
                )
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
                return OperationalError(
                    f"{said}; this user needs the right to write the file and its folder: see chmod, chown"
                )
            case sqlite3.SQLITE_CANTOPEN:
                return OperationalError(
                    f"{said}; this user needs the right to write the file and its folder, or has too many "
                    "files open"
                )
            case sqlite3.SQLITE_NOTADB:
                return ImproperlyConfigured(
                    f"{said}; name another file, or remove this one if nobody needs it"
                )
            case sqlite3.SQLITE_CORRUPT:
                return OperationalError(
                    f"{said}; the file is damaged: stop all workers, keep a copy, and save what there is "
                    f"with `sqlite3 {self.place.path} .recover`"
                )
            case _:
                return OperationalError(f"{said}; nothing was stored ({type(error).__name__})")


def _code(error: sqlite3.Error) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _is_busy(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _inode_of(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116 - twice as fast as Path.stat, and done for every transaction
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - as above
    except OSError:
        return 0


def _schema() -> list[str]:
    text = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    return [statement for statement in text.split(";\n") if statement.strip()]


# --- forks ------------------------------------------------------------------------------------------------
# A child must never use nor even close a connection of its parent, and while one is inherited SQLite believes
# that the child holds file locks which it does not. So no file is open while this process forks: each side
# opens it anew.

_stores: dict[Place, Store] = {}
_registry = threading.Lock()
_locked_for_fork: list[Store] = []


def _before_fork() -> None:
    for store in list(_stores.values()):
        if store._lock.acquire(timeout=FORK_PATIENCE):
            _locked_for_fork.append(store)
            if not store.place.in_memory:
                store._close()


def _after_fork() -> None:
    while _locked_for_fork:
        _locked_for_fork.pop()._lock.release()


def _after_fork_in_child() -> None:
    global _registry
    _registry = threading.Lock()
    _after_fork()
    # What the parent keeps in memory is a copy here, and nobody would see what is put into it.
    for place in [place for place in _stores if place.in_memory]:
        del _stores[place]


@atexit.register
def _close_all() -> None:
    for store in list(_stores.values()):
        if store._lock.acquire(timeout=FORK_PATIENCE):
            store._close()
            store._lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
