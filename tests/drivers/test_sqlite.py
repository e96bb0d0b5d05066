"""What is SQLite's own: one file under many processes, its bells, its forks, its troubles."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from celeriac.drivers import opening
from celeriac.drivers.opening import Options
from celeriac.drivers.sqlite import chords, same_store
from celeriac.drivers.sqlite.bells import Bell, Looker, open_alarm, ring
from celeriac.drivers.sqlite.broker import SqliteBroker
from celeriac.drivers.sqlite.place import Place, file_system_of, read_url
from celeriac.drivers.sqlite.results import SqliteResults
from celeriac.drivers.sqlite.session import Session
from celeriac.drivers.sqlite.store import Store
from celeriac.exceptions import ImproperlyConfigured, OperationalError
from celeriac.message import Count, Depth, Message, Outcome, Result
from celeriac.ports import Broker, ResultStore
from celeriac.testing.conformance import BrokerConformance, ResultConformance

PATIENCE = 10.0
QUICK = Options(publish_timeout=0.2)


class TestInMemory(BrokerConformance, ResultConformance):
    """`sqlite://`: the same code, in the memory of one process."""

    one_process = True

    @pytest.fixture(autouse=True)
    def keeper(self) -> Iterator[None]:
        # The memory is there while anybody has it open.
        with closing(opening.open_broker("sqlite://")):
            yield

    @pytest.fixture
    def open_broker(self) -> Callable[[], Broker]:
        return partial(opening.open_broker, "sqlite://", "sqlite://")

    @pytest.fixture
    def open_results(self) -> Callable[[], ResultStore]:
        return partial(opening.open_results, "sqlite://")


class TestWithoutSockets(BrokerConformance, ResultConformance):
    """Where no socket can lie in a folder, as on Windows."""

    # The conformance suite starts its other process with functions that can be pickled, and `look` cannot.
    one_process = True

    @pytest.fixture
    def open_broker(self, sqlite_url: str) -> Callable[[], Broker]:
        return lambda: SqliteBroker(looking(sqlite_url), True)

    @pytest.fixture
    def open_results(self, sqlite_url: str) -> Callable[[], ResultStore]:
        return lambda: SqliteResults(looking(sqlite_url))

    def test_a_turn_sees_what_another_process_sends(self, sqlite_url: str) -> None:
        with closing(SqliteBroker(looking(sqlite_url), True)) as broker:
            broker.consume(["celery"])
            broker.enlist("child", "node", 30.0)
            assert broker.turn("child", (), 1, 0.02) == []
            with running(SENDS, sqlite_url, "hello") as sender:
                claims = broker.turn("child", (), 1, PATIENCE)
                assert [claim.payload for claim in claims] == [b"hello"]
                assert sender.wait(PATIENCE) == 0


def looking(url: str) -> Session:
    return Session(Store.opened(read_url(url), 5.0), 5.0, look)


def look(path: str, version: Callable[[], object]) -> Looker:
    return Looker(version)


# --- URLs -------------------------------------------------------------------------------------------------


def test_three_slashes_are_relative_and_four_are_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_url("sqlite:///work.db") == Place(f"{tmp_path}/work.db")
    assert read_url("sqlite:////var/lib/work.db") == Place("/var/lib/work.db")
    assert read_url("sqlite:////var/a%20b.db?synchronous=FULL") == Place("/var/a b.db", "full")
    assert read_url("sqlite://") == read_url("sqlite:///:memory:") == Place("")


def test_one_file_is_one_store_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert same_store("sqlite:///work.db", f"sqlite:///{tmp_path}/work.db?synchronous=full")
    assert same_store("sqlite:///work.db", f"sqlite:///{tmp_path}/sub/../work.db")
    assert same_store("sqlite://", "sqlite://")
    assert not same_store("sqlite:///work.db", "sqlite:///results.db")


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("sqlite://work.db", "sqlite:///work.db"),
        ("sqlite:///work.db?synchronous=off", "synchronous=full"),
        ("sqlite:///work.db?timeout=3", "synchronous=full"),
    ],
)
def test_a_url_that_makes_no_sense_says_what_to_write(url: str, cure: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=cure):
        opening.open_broker(url)


# --- places where no queue can live -----------------------------------------------------------------------


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"mkdir -p {tmp_path}/no/such"):
        opening.open_broker(f"sqlite:///{tmp_path}/no/such/work.db")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"{tmp_path} is a directory"):
        opening.open_broker(f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear queue, " * 100)
    with pytest.raises(ImproperlyConfigured, match=f"{letter}.*not a database"):
        opening.open_broker(f"sqlite:///{letter}")
    assert letter.read_text() == "Dear queue, " * 100


def test_the_database_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE customer (name TEXT)")
    before = other.read_bytes()
    with pytest.raises(ImproperlyConfigured, match=f"{other} is the database of something else"):
        opening.open_broker(f"sqlite:///{other}")
    assert other.read_bytes() == before


def test_a_file_of_another_format_is_refused(sqlite_url: str) -> None:
    opening.open_broker(sqlite_url).close()
    with closing(raw(sqlite_url)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ImproperlyConfigured, match="format 99"):
        opening.open_broker(sqlite_url)


def test_network_file_systems_are_known_by_their_mounts() -> None:
    mounts = (
        "22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        "40 22 0:36 / /mnt rw shared:20 - nfs4 server:/export rw,vers=4.2\n"
        "41 40 8:1 / /mnt/local rw - xfs /dev/sda1 rw\n"
        "42 22 0:37 / /with\\040blank rw - fuse.sshfs host:/ rw\n"
    )
    assert file_system_of(Path("/mnt/queue"), mounts) == "nfs4"
    assert file_system_of(Path("/mnt/local/queue"), mounts) == "xfs"
    assert file_system_of(Path("/mntx"), mounts) == "ext4"
    assert file_system_of(Path("/with blank/queue"), mounts) == "fuse.sshfs"
    assert file_system_of(Path("/mnt"), "") == ""


def test_a_file_that_may_not_be_written_is_named() -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "work.db")
        opening.open_broker(f"sqlite:///{path}").close()
        path.chmod(0o444)
        Path(folder).chmod(0o555)  # another user must be able to get there
        said = say_trouble(AS_NOBODY + SENDS, f"sqlite:///{path}")
        Path(folder).chmod(0o755)
    assert said.startswith("OperationalError")
    assert str(path) in said
    assert "right to write" in said


def test_a_full_disk_is_an_error_and_what_was_there_stays(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    unshare = shutil.which("unshare")
    mount = ["sh", "-c", f'mount -t tmpfs -o size=600k tmpfs {small} && exec "$@"', "sh"]
    if unshare is None or subprocess.run([unshare, "-rm", *mount, "true"], check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    said = subprocess.run(
        [unshare, "-rm", *mount, sys.executable, "-c", FILLS, f"sqlite:///{small}/work.db"],
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert said.startswith(f"OperationalError {small}/work.db")
    assert "free some space" in said
    assert said.splitlines()[-2:] == ["all there", "went on with the space that it had"]


# --- busy -------------------------------------------------------------------------------------------------


def test_a_file_that_is_busy_for_a_while_is_waited_for(sqlite_url: str, threads: ThreadPoolExecutor) -> None:
    with closing(opening.open_broker(sqlite_url)) as broker, closing(raw(sqlite_url)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        sent = [threads.submit(broker.publish, [Message(str(n), "celery", b"x")]) for n in range(3)]
        assert broker.depth(["celery"]) == {"celery": Depth()}
        assert not any(future.done() for future in sent)
        holder.execute("COMMIT")
        for future in sent:
            future.result(PATIENCE)
        assert broker.depth(["celery"]) == {"celery": Depth(ready=3)}


def test_a_file_that_stays_busy_is_an_error_in_time_for_every_thread(
    sqlite_url: str, threads: ThreadPoolExecutor
) -> None:
    with closing(opening.open_broker(sqlite_url, None, QUICK)) as broker, closing(raw(sqlite_url)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        sent = [threads.submit(broker.publish, [Message(str(n), "celery", b"x")]) for n in range(32)]
        for future in sent:
            with pytest.raises(OperationalError, match=f"{path_of(sqlite_url)}.*another process held it"):
                future.result(PATIENCE)
        # Not one after the other: 32 times 0.2 s would be 6.4.
        assert time.monotonic() - start < 4.0
        holder.execute("ROLLBACK")
        broker.publish([Message("a", "celery", b"x")])
        assert broker.depth(["celery"]) == {"celery": Depth(ready=1)}


def test_what_is_interrupted_in_the_middle_leaves_nothing_half_done(sqlite_url: str) -> None:
    def interrupted(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO message (queue, step, payload) VALUES ('celery', 0, x'00')")
        raise KeyboardInterrupt

    store = Store.opened(read_url(sqlite_url), 5.0)
    with pytest.raises(KeyboardInterrupt):
        store.write(interrupted, 5.0)
    assert store.write(lambda db: db.execute("SELECT count(*) FROM message").fetchone(), 5.0) == (0,)
    store.release()


class Forgetful(Store):
    """A store that once does as it was told and then fails to say so."""

    forgets = False

    def write(self, work: Callable[[sqlite3.Connection], Any], patience: float) -> Any:
        answer = super().write(work, patience)
        if self.forgets:
            self.forgets = False
            raise OperationalError("no answer")
        return answer


def test_claims_of_a_turn_that_gave_no_answer_come_with_the_next(sqlite_url: str) -> None:
    store = Forgetful(read_url(sqlite_url))
    store._users = 1
    with closing(SqliteBroker(Session(store, 5.0), False)) as broker:
        broker.consume(["celery"])
        broker.enlist("child", "node", 30.0)
        broker.publish([Message(name, "celery", name.encode()) for name in "abcd"])
        (first,) = broker.turn("child", (), 1)
        done = [Outcome(first.number, follow_ups=(Message("e", "celery", b"e"),))]
        store.forgets = True
        with pytest.raises(OperationalError):
            broker.turn("child", done, 2)
        claims = broker.turn("child", done, 3)
        assert [(claim.number, claim.payload) for claim in claims] == [(2, b"b"), (3, b"c"), (4, b"d")]
        assert broker.turn("child", (), 0) == []
        assert broker.depth(["celery"]) == {"celery": Depth(ready=1, claimed=3)}

        store.forgets = True
        with pytest.raises(OperationalError):
            broker.adopt("child", "heir", "node")
        assert broker.adopt("child", "heir", "node") == claims


# --- one file, many processes -----------------------------------------------------------------------------


def test_nothing_is_lost_or_doubled_when_processes_are_killed_in_the_middle(sqlite_url: str) -> None:
    names = [f"{n}" for n in range(100)]
    with closing(opening.open_broker(sqlite_url, sqlite_url)) as broker:
        broker.publish([Message(name, "celery", name.encode()) for name in names])
        for n in range(20):
            with running(MOVES, sqlite_url, f"child {n}") as mover:
                assert mover.stdout is not None
                assert mover.stdout.readline() == "moving\n"
                # No signal could be as unforeseen as chance.
                time.sleep(random.uniform(0.0, 0.03))
                mover.kill()
            with closing(raw(sqlite_url)) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                assert sorted(p.decode() for (p,) in db.execute("SELECT payload FROM message")) == sorted(
                    names
                )
                assert db.execute(PLACES_OF_EACH).fetchall() == []
            broker.adopt(f"child {n}", f"heir {n}", "node")
            broker.dismiss(f"heir {n}")
        depth = broker.depth(["celery"])["celery"]
        assert (depth.claimed, depth.ready + depth.delayed + depth.dead) == (0, 100)


def test_a_waiter_that_was_killed_is_passed_over_for_the_next(sqlite_url: str) -> None:
    with closing(opening.open_broker(sqlite_url)) as broker, running(WAITS, sqlite_url, "alive") as alive:
        assert hear(alive) == "waiting"
        for n in range(3):
            with running(WAITS, sqlite_url, f"killed {n}") as killed:
                assert hear(killed) == "waiting"
                seated(sqlite_url, 2)
                killed.kill()
                killed.wait(PATIENCE)
            start = time.monotonic()
            broker.publish([Message("a", "celery", b"a"), Message("b", "celery", b"b")])
            assert [hear(alive), hear(alive)] == ["a", "b"]
            assert time.monotonic() - start < 5.0
        alive.kill()


def test_wake_ups_do_not_grow_with_the_number_of_waiters(
    sqlite_url: str, threads: ThreadPoolExecutor
) -> None:
    with opened(sqlite_url, 6) as brokers, closing(opening.open_broker(sqlite_url)) as sender:
        waiting = [threads.submit(broker.turn, f"child {n}", (), 1, 0.5) for n, broker in enumerate(brokers)]
        seated(sqlite_url, 6)
        sender.publish([Message("later", "celery", b"later", eta=time.time() + 3600)])
        sender.publish([Message("a", "celery", b"a"), Message("b", "celery", b"b")])
        seated(sqlite_url, 4)
        assert sum(len(future.result(PATIENCE)) for future in waiting) == 2


def test_one_of_many_that_wait_looks_when_a_message_falls_due(
    sqlite_url: str, threads: ThreadPoolExecutor
) -> None:
    with opened(sqlite_url, 4) as brokers, closing(opening.open_broker(sqlite_url)) as sender:
        waiting = [
            threads.submit(broker.turn, f"child {n}", (), 1, PATIENCE) for n, broker in enumerate(brokers)
        ]
        seated(sqlite_url, 4)
        eta = time.time() + 0.3
        sender.publish([Message(f"{n}", "celery", b"x", eta=eta) for n in range(3)])
        until_true(lambda: alarms(sqlite_url) == [eta])
        # Who has the alarm goes away with another message: somebody else must take it over.
        sender.publish([Message("now", "celery", b"now")])
        claims = [future.result(PATIENCE) for future in waiting]
        assert sorted(claim.payload for (claim,) in claims) == [b"now", b"x", b"x", b"x"]
        assert time.time() - eta < 5.0


def test_who_has_no_alarm_looks_soon_if_the_one_who_has_it_is_killed(
    sqlite_url: str, threads: ThreadPoolExecutor
) -> None:
    with closing(opening.open_broker(sqlite_url)) as sender, opened(sqlite_url, 1) as (other,):
        with running(WAITS, sqlite_url, "killed") as killed:
            assert hear(killed) == "waiting"
            seated(sqlite_url, 1)
            eta = time.time() + 0.5
            sender.publish([Message("later", "celery", b"later", eta=eta)])
            until_true(lambda: alarms(sqlite_url) == [eta])
            waiting = threads.submit(other.turn, "child 0", (), 1, 10.0)
            seated(sqlite_url, 2)
            killed.kill()
        (claim,) = waiting.result(PATIENCE)
        assert claim.payload == b"later"
        assert eta <= time.time() < eta + 5.0


def test_an_adopted_owners_duties_go_to_others_at_once(sqlite_url: str, threads: ThreadPoolExecutor) -> None:
    """It was stopped when it was rung for a message; then it died."""
    with closing(opening.open_broker(sqlite_url)) as sender, opened(sqlite_url, 1) as (other,):
        with running(WAITS, sqlite_url, "killed") as killed:
            assert hear(killed) == "waiting"
            seated(sqlite_url, 1)
            waiting = threads.submit(other.turn, "child 0", (), 1, 60.0)
            seated(sqlite_url, 2)
            killed.send_signal(signal.SIGSTOP)
            sender.publish([Message("a", "celery", b"a")])
            seated(sqlite_url, 1)
            killed.kill()
            killed.wait(PATIENCE)
        began = time.monotonic()
        sender.adopt("killed", "heir", "node")
        (claim,) = waiting.result(PATIENCE)
        assert (claim.payload, time.monotonic() - began < 5.0) == (b"a", True)


def test_a_dismissed_owners_alarm_goes_to_another_at_once(
    sqlite_url: str, threads: ThreadPoolExecutor
) -> None:
    """A child whose parent is gone ends right after it."""
    with opened(sqlite_url, 2) as (leaver, other), closing(opening.open_broker(sqlite_url)) as sender:
        threads.submit(leaver.turn, "child 0", (), 1, 10.0)
        seated(sqlite_url, 1)
        sender.publish([Message("later", "celery", b"later", eta=time.time() + 8.0)])
        until_true(lambda: keepers_of_the_alarm(sqlite_url))
        (before,) = keepers_of_the_alarm(sqlite_url)
        threads.submit(other.turn, "child 1", (), 1, 10.0)
        seated(sqlite_url, 2)
        began = time.monotonic()
        leaver.dismiss("child 0")
        until_true(lambda: keepers_of_the_alarm(sqlite_url) not in ([], [before]))
        assert time.monotonic() - began < 5.0


def test_leases_hold_when_the_wall_clock_is_set(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    true_time = time.time
    with (
        closing(opening.open_broker(sqlite_url)) as broker,
        closing(opening.open_broker(sqlite_url)) as other,
    ):
        broker.consume(["celery"])
        broker.enlist("living", "here", 30.0)
        for hours in (-5, 5):
            monkeypatch.setattr(time, "time", lambda hours=hours: true_time() + hours * 3600)
            assert other.beat("there", 30.0) == []
            broker.publish([Message("a", "celery", b"a")])
            (claim,) = broker.turn("living", (), 1)
            broker.turn("living", [Outcome(claim.number)], 0)
        with closing(raw(sqlite_url)) as db:
            # As after a restart of the host, whose monotonic clock then begins again.
            db.execute("UPDATE node SET renewed = renewed + 1e6 WHERE name = 'here'")
        assert other.beat("there", 30.0) == ["living"]


def test_an_idle_wait_writes_nothing_but_its_seat(sqlite_url: str) -> None:
    with opened(sqlite_url, 1) as (broker,):
        wal = Path(path_of(sqlite_url) + "-wal")
        assert broker.turn("child 0", (), 1, 0.01) == []
        before = wal.stat().st_size
        assert broker.turn("child 0", (), 1, 0.3) == []
        assert wal.stat().st_size - before < 32_000


def test_the_log_is_emptied_as_soon_as_nobody_reads_an_old_state(sqlite_url: str) -> None:
    log = Path(path_of(sqlite_url) + "-wal")
    with closing(opening.open_broker(sqlite_url)) as broker, closing(raw(sqlite_url)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM message").fetchone()
        for _ in range(6):
            broker.publish([Message("a", "celery", bytes(4 << 20))])
        assert log.stat().st_size > 24 << 20
        reader.execute("COMMIT")
        for _ in range(3):
            broker.publish([Message("a", "celery", bytes(4 << 20))])
        assert log.stat().st_size <= 17 << 20
        assert broker.depth(["celery"]) == {"celery": Depth(ready=9)}


# --- bells ------------------------------------------------------------------------------------------------


def test_bells_are_removed_with_their_users_and_after_those_that_were_killed(sqlite_url: str) -> None:
    folder = Path(path_of(sqlite_url) + "-bells")
    with running(WAITS, sqlite_url, "killed") as killed:
        assert hear(killed) == "waiting"
        (left,) = folder.iterdir()
    with opened(sqlite_url, 1) as (broker,):
        broker.turn("child 0", (), 1, 0.01)
        (ours,) = folder.iterdir()
        assert ours != left
    del broker
    assert not folder.exists()


def test_a_bell_that_somebody_removed_is_hung_up_again(sqlite_url: str) -> None:
    folder = Path(path_of(sqlite_url) + "-bells")
    with closing(opening.open_broker(sqlite_url)) as broker:
        broker.consume(["celery"])
        broker.enlist("child", "node", 30.0)
        broker.turn("child", (), 1, 0.01)
        (bell,) = folder.iterdir()
        shutil.rmtree(folder)
        assert ring([str(bell)]) == [str(bell)]
        broker.turn("child", (), 1, 0.01)
        assert ring([str(bell)]) == []
    assert not folder.exists()


AT_THE_END = """
import atexit
import sys

atexit.register(lambda: broker.turn("child", (), 1, 0.01))  # as a thread that goes on to the last

from celeriac.drivers import opening

broker = opening.open_broker(sys.argv[1])
broker.consume(["celery"])
broker.enlist("child", "node", 30.0)
broker.turn("child", (), 1, 0.01)
"""


def test_a_program_that_waits_to_its_last_leaves_no_bell(sqlite_url: str) -> None:
    subprocess.run([sys.executable, "-c", AT_THE_END, sqlite_url], check=True, timeout=30)
    assert not Path(path_of(sqlite_url) + "-bells").exists()


def test_a_long_path_has_its_bells_elsewhere(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    folder = tmp_path / ("deep" * 20) / ("deeper" * 10)
    folder.mkdir(parents=True)
    url = f"sqlite:///{folder}/work.db"
    with opened(url, 1) as (broker,), closing(opening.open_broker(url)) as sender:
        waiting = threads.submit(broker.turn, "child 0", (), 1, PATIENCE)
        seated(url, 1)
        sender.publish([Message("a", "celery", b"a")])
        (claim,) = waiting.result(PATIENCE)
        assert claim.payload == b"a"
        assert not Path(f"{folder}/work.db-bells").exists()


def test_a_bell_that_nobody_has_any_more_is_told_of(tmp_path: Path) -> None:
    bell = open_alarm(str(tmp_path / "work.db"), lambda: None)
    assert isinstance(bell, Bell)
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gone:
        gone.bind(str(stale))
    absent = str(tmp_path / "absent")
    assert ring([str(stale), bell.address, absent]) == [str(stale), absent]
    start = time.monotonic()
    assert not bell.wait(PATIENCE)
    bell.wake()
    assert bell.wait(PATIENCE)
    assert time.monotonic() - start < 5.0


def test_a_bell_that_is_rung_a_thousand_times_does_not_block_who_rings(tmp_path: Path) -> None:
    bell = open_alarm(str(tmp_path / "work.db"), lambda: None)
    for _ in range(1000):
        assert ring([bell.address]) == []
        bell.wake()
    assert bell.wait(PATIENCE)
    start = time.monotonic()
    assert not bell.wait(0.05)
    assert time.monotonic() - start >= 0.05


# --- forks, threads, greenlets ----------------------------------------------------------------------------


def test_a_fork_carries_no_open_file_along(sqlite_url: str) -> None:
    assert subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS, sqlite_url], env=environment(), check=False, timeout=30
    ).returncode == 0  # fmt: skip


def test_a_program_that_ends_while_it_watches_says_nothing_of_it(sqlite_url: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDS_WHILE_IT_WATCHES, sqlite_url],
        env=environment(), check=True, timeout=30, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.stderr == ""


def test_a_bell_ends_with_its_process_and_not_with_a_fork_of_it(sqlite_url: str) -> None:
    with running(WAITS_AND_FORKS, sqlite_url) as parent:
        address, fork = hear(parent).split()
        assert ring([address]) == []
        parent.kill()
        parent.wait(PATIENCE)
        try:
            assert ring([address]) == [address]
        finally:
            os.kill(int(fork), 9)


def test_what_a_process_has_in_memory_is_shared_and_ends_with_its_last_user() -> None:
    with closing(opening.open_broker("sqlite://")) as broker:
        with closing(opening.open_broker("sqlite:///:memory:")) as other:
            other.publish([Message("a", "celery", b"a")])
        assert broker.peek("celery", 9) == [b"a"]
    with closing(opening.open_broker("sqlite://")) as broker:
        assert broker.queues() == []


def test_a_file_that_was_removed_is_made_anew_and_sent_to(sqlite_url: str) -> None:
    with closing(opening.open_broker(sqlite_url)) as broker:
        broker.publish([Message("a", "celery", b"a")])
        for ending in ("", "-wal", "-shm"):
            Path(path_of(sqlite_url) + ending).unlink()
        broker.publish([Message("b", "celery", b"b")])
        with closing(raw(sqlite_url)) as db:
            assert db.execute("SELECT payload FROM message").fetchall() == [(b"b",)]


def test_plans_are_made_anew_in_a_file_that_takes_the_place_of_a_removed_one(sqlite_url: str) -> None:
    with closing(opening.open_schedules(sqlite_url, "group")) as schedules:
        first = schedules.tick("one", 10.0, 0, 10)
        for ending in ("", "-wal", "-shm"):
            Path(path_of(sqlite_url) + ending).unlink()
        assert schedules.plans() == []
        assert schedules.tick("one", 10.0, 0, 10).term > first.term, "a new reign: code declares its entries"


def test_a_folder_that_is_away_for_a_moment_is_trouble_that_passes(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    folder.mkdir()
    with closing(opening.open_broker(f"sqlite:///{folder}/queue.db")) as broker:
        broker.publish([Message("a", "celery", b"a")])
        folder.rename(elsewhere)
        with pytest.raises(OperationalError, match=r"data of .* does not exist"):
            broker.publish([Message("b", "celery", b"b")])
        elsewhere.rename(folder)
        assert broker.peek("celery", 10) == [b"a"]


def test_the_log_of_a_file_that_is_named_by_a_link_is_emptied_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.drivers.sqlite.store.LONGEST_LOG", 64 << 10)
    (tmp_path / "shared").mkdir()
    (tmp_path / "queue.db").symlink_to(tmp_path / "shared" / "queue.db")
    with closing(opening.open_broker(f"sqlite:///{tmp_path}/queue.db")) as broker:
        for _ in range(20):
            broker.publish([Message("a", "celery", bytes(32 << 10))])
            broker.purge("celery")
        assert (tmp_path / "shared" / "queue.db-wal").stat().st_size < 256 << 10


def test_greenlets_go_on_while_a_turn_waits_and_while_the_file_is_busy(sqlite_url: str) -> None:
    pytest.importorskip("gevent")
    said = subprocess.run(
        [sys.executable, "-c", GREENLETS, sqlite_url],
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    assert said == "claimed b'a'\ntold x b'done'\nwoken []\nbusy OperationalError\n"


# --- results ----------------------------------------------------------------------------------------------


def test_results_that_are_too_old_leave_the_file_little_by_little(sqlite_url: str) -> None:
    with closing(opening.open_results(sqlite_url)) as results, closing(raw(sqlite_url)) as db:
        results.save([Result(f"{n}", b"x", ttl=0.0) for n in range(150)])
        kept = []
        for _ in range(3):
            results.save([Result("new", b"x")])
            kept.append(db.execute("SELECT count(*) FROM result").fetchone()[0])
        assert kept == sorted(kept, reverse=True)
        assert kept[-1] == 1


def test_the_members_of_a_chord_are_kept_as_long_as_more_come(sqlite_url: str) -> None:
    store = Store.opened(read_url(sqlite_url), 5.0)

    def count(index: int, now: float) -> list[str]:
        item = b'[1, "m%d", "SUCCESS", 1]' % index
        body = (Message("body", "celery", b"the body"),)
        member = Count("chord", f"m{index}", "root", index, 3, item, body, ttl=3600.0)

        def work(db: sqlite3.Connection) -> list[str]:
            due = [message.id for message in chords.count(db, [member], now)]
            chords.sweep(db, now)
            return due

        return store.write(work, 5.0)

    assert [count(index, index * 3000.0) for index in range(3)] == [[], [], ["body"]]
    with closing(raw(sqlite_url)) as db:
        assert db.execute("SELECT count(*) FROM run").fetchone() == (0,)
        count(0, 10_000.0)
        store.write(lambda db: chords.sweep(db, 20_000.0), 5.0)
        assert db.execute("SELECT count(*) FROM run").fetchone() == (0,), "nobody comes any more"
    store.release()


def test_a_stream_whose_time_is_over_begins_anew(sqlite_url: str) -> None:
    with closing(opening.open_results(sqlite_url)) as results:
        results.push("a", 1, [b"1", b"2"], 10, -1.0)
        results.push("a", 1, [b"one"], 10, 60.0)
        assert results.parts("a", 0, 10) == [(1, b"one")]


def test_a_watch_that_was_forgotten_makes_itself_known_again(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.drivers.sqlite.results.LONGEST_PAUSE", 0.05)
    told: list[tuple[str, bytes]] = []
    heard = threading.Event()
    with closing(opening.open_results(sqlite_url)) as results, closing(raw(sqlite_url)) as db:
        watch = results.watch(lambda *news: (told.append(news), heard.set())[0])
        watch.add(["a"])
        db.execute("DELETE FROM watcher")
        results.save([Result("a", b"done")])
        assert heard.wait(PATIENCE)
        assert told == [("a", b"done")]


def test_a_watcher_that_was_killed_is_forgotten(sqlite_url: str) -> None:
    with closing(opening.open_results(sqlite_url)) as results, closing(raw(sqlite_url)) as db:
        with running(WATCHES, sqlite_url) as watcher:
            assert hear(watcher) == "watching"
            watcher.kill()
        assert db.execute("SELECT count(*) FROM watcher").fetchone() == (2,)
        results.save([Result("a", b"1")])
        assert db.execute("SELECT count(*) FROM watcher").fetchone() == (0,)
        assert results.load(["a"]) == [b"1"]


# --- what the tests stand on ------------------------------------------------------------------------------

# Names every message that is not in exactly one place, and every place without its message.
PLACES_OF_EACH = """
WITH place AS (
    SELECT message FROM ready UNION ALL SELECT message FROM delayed
    UNION ALL SELECT message FROM claim UNION ALL SELECT message FROM dead
)
SELECT id, count(place.message) FROM message LEFT JOIN place ON place.message = id
GROUP BY id HAVING count(place.message) <> 1
UNION ALL SELECT message, 0 FROM place WHERE message NOT IN (SELECT id FROM message)
"""

OPENS = """
import os, random, sys, time
from celeriac.drivers import opening
from celeriac.exceptions import CeleriacError
from celeriac.message import Fate, Message, Outcome, Result
url = sys.argv[1]
"""

SENDS = (
    OPENS
    + """
payload = "".join(sys.argv[2:]).encode()
try:
    opening.open_broker(url).publish([Message("a", "celery", payload)])
except CeleriacError as error:
    print(type(error).__name__, error)
"""
)

AS_NOBODY = """
import os
if os.getuid() == 0:
    # Imported before, for nobody may not read the packages either.
    import encodings.idna, celeriac.drivers.sqlite
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
"""

FILLS = (
    OPENS
    + """
broker = opening.open_broker(url)
stored = 0
try:
    while stored < 100:
        broker.publish([Message("a", "celery", b"x" * 20_000)])
        stored += 1
except CeleriacError as error:
    print(type(error).__name__, error)
print("all there" if broker.depth(["celery"])["celery"].ready == stored > 0 else "not all there")
broker.close()

from contextlib import suppress
from pathlib import Path
from celeriac.drivers.sqlite import store

store.LONGEST_LOG = 100_000
file = Path(url.removeprefix("sqlite:///"))
for ending in ("", "-wal", "-shm"):
    Path(f"{file}{ending}").unlink(missing_ok=True)
broker = opening.open_broker(url)

def work():
    for _ in range(20):
        broker.publish([Message("a", "celery", b"x" * 10_000)])
        broker.purge("celery")

work()  # the log is as long as it gets, and the file has room in it
with suppress(OSError), open(file.with_name("logs of others"), "wb", buffering=0) as others:
    while others.write(bytes(4096)):
        pass
work()
print("went on with the space that it had")
"""
)

# Every kind of move that leaves a message of each name, as fast as it goes.
MOVES = (
    OPENS
    + """
broker = opening.open_broker(url, url)
broker.consume(["celery"])
broker.enlist(sys.argv[2], "node", 30.0)
outcomes = []
print("moving", flush=True)
while True:
    claims = broker.turn(sys.argv[2], outcomes, 5, 0.01)
    outcomes = []
    for claim in claims:
        name = claim.payload.decode()
        fate = random.choice(list(Fate))
        again = (Message(name, "celery", claim.payload, random.choice((0, 9))),) if fate is Fate.ACKED else ()
        outcomes.append(
            Outcome(claim.number, fate, Result(name, b"r", 0.01), again, time.time() + 0.005, "r", name)
        )
    if random.random() < 0.3:
        broker.replay([letter.id for letter in broker.letters(5)])
"""
)

WAITS = (
    OPENS
    + """
broker = opening.open_broker(url)
broker.consume(["celery"])
broker.enlist(sys.argv[2], "node", 30.0)
broker.turn(sys.argv[2], (), 1, 0.001)
print("waiting", flush=True)
outcomes = []
while True:
    claims = broker.turn(sys.argv[2], outcomes, 1, 30.0)
    outcomes = [Outcome(claim.number) for claim in claims]
    for claim in claims:
        print(claim.payload.decode(), flush=True)
"""
)

WAITS_AND_FORKS = (
    OPENS
    + """
from celeriac.drivers.sqlite.bells import open_alarm
bell = open_alarm(url.removeprefix("sqlite:///"), lambda: None)
if os.fork() == 0:
    print(bell.address, os.getpid(), flush=True)
    assert not bell.wait(30.0)
    os._exit(0)
time.sleep(30)
"""
)

WATCHES = (
    OPENS
    + """
watch = opening.open_results(url).watch(print)
watch.add(["a", "b"])
print("watching", flush=True)
time.sleep(30)
"""
)

#: What is registered first is called last at the end: the watch gets time to stumble.
ENDS_WHILE_IT_WATCHES = (
    "import atexit, time; atexit.register(time.sleep, 0.2)"
    + OPENS
    + """
watch = opening.open_results(url).watch(print)
watch.add(["a"])
"""
)

FORKS = (
    OPENS
    + """
import threading
from pathlib import Path

def has_open():
    files = os.listdir("/proc/self/fd")
    return [name for name in files if ".db" in os.path.realpath(f"/proc/self/fd/{name}")]

broker = opening.open_broker(url, url)
stop = threading.Event()
sent = 0
def send():
    global sent
    while not stop.is_set():
        broker.publish([Message("a", "celery", b"parent")])
        sent += 1
thread = threading.Thread(target=send)
thread.start()
for n in range(5):
    child = os.fork()
    if child == 0:
        try:
            assert not os.path.exists("/proc/self/fd") or has_open() == []
            own = opening.open_broker(url, url)
            own.publish([Message("b", "celery", b"child")])
            own.close()
            broker.close()
        except BaseException as error:
            print(repr(error))
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
thread.join()
assert broker.depth(["celery"])["celery"].ready == sent + 5, (broker.depth(["celery"]), sent)
broker.close()
"""
)

GREENLETS = """
from gevent import monkey
monkey.patch_all()
import gevent, sqlite3, sys, time
from celeriac.drivers import opening
from celeriac.drivers.opening import Options
from celeriac.message import Message, Result
url = sys.argv[1]
broker = opening.open_broker(url, url, Options(publish_timeout=0.3))
broker.consume(["celery"])
broker.enlist("child", "node", 30.0)
results = opening.open_results(url)
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.005)
gevent.spawn(tick)
waiting = gevent.spawn(broker.turn, "child", (), 1, 60.0)
with gevent.Timeout(10):
    while ticks <= 5:
        gevent.sleep(0.01)
broker.publish([Message("a", "celery", b"a")])
print("claimed", waiting.get(timeout=10)[0].payload)
told = gevent.event.AsyncResult()
watch = results.watch(lambda *news: told.set(news))
watch.add(["x"])
results.save([Result("x", b"done")])
print("told", *told.get(timeout=10))
waiting = gevent.spawn(broker.turn, "child", (), 1, 60.0)
gevent.sleep(0.02)
broker.wake()
print("woken", waiting.get(timeout=10))
holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
holder.execute("BEGIN IMMEDIATE")
ticks = 0
try:
    broker.publish([Message("a", "celery", b"a")])
except Exception as error:
    assert ticks > 2, ticks
    print("busy", type(error).__name__)
holder.execute("ROLLBACK")
results.close()
broker.close()
"""


@pytest.fixture
def sqlite_url() -> Iterator[str]:
    """In a folder with so short a path that the bells lie in it, and go with it."""
    with TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/work.db"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@contextmanager
def running(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say_trouble(program: str, url: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program, url], env=environment(), check=True, capture_output=True, text=True
    ).stdout


@contextmanager
def opened(url: str, n: int) -> Iterator[list[Broker]]:
    """Brokers of owners `child 0` ... that consume the queue celery."""
    brokers = [opening.open_broker(url) for _ in range(n)]
    try:
        for number, broker in enumerate(brokers):
            broker.consume(["celery"])
            broker.enlist(f"child {number}", "node", 30.0)
        yield brokers
    finally:
        while brokers:
            brokers.pop().close()


def path_of(url: str) -> str:
    return url.removeprefix("sqlite:///")


def raw(url: str) -> sqlite3.Connection:
    return sqlite3.connect(path_of(url), timeout=5.0, isolation_level=None)


def seated(url: str, n: int) -> None:
    """Wait until so many sit on the bench."""
    with closing(raw(url)) as db:
        until_true(
            lambda: (
                db.execute(
                    "SELECT count(*) FROM waiter WHERE until > ?", (time.monotonic() + 0.01,)
                ).fetchone()
                == (n,)
            )
        )


def alarms(url: str) -> list[float]:
    with closing(raw(url)) as db:
        return [alarm for (alarm,) in db.execute("SELECT alarm FROM waiter WHERE alarm IS NOT NULL")]


def keepers_of_the_alarm(url: str) -> list[str]:
    """Who looks by itself when the next message falls due."""
    with closing(raw(url)) as db:
        return [address for (address,) in db.execute("SELECT address FROM waiter WHERE alarm IS NOT NULL")]


def until_true(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)
