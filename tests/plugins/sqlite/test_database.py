from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from worker_broker_sqlite import database as module
from worker_broker_sqlite.database import Database, DatabaseError, DatabaseRefused, DatabaseUnavailable


def test_nothing_is_opened_before_the_first_use(path: str) -> None:
    Database(path).close()
    assert not Path(path).exists()


def test_a_new_file_carries_the_version_of_its_schema(database: Database) -> None:
    assert database.execute("PRAGMA user_version") == [(1,)]
    assert database.execute("PRAGMA journal_mode") == [("wal",)]


def test_a_newer_schema_is_refused_with_the_remedy(database: Database, path: str) -> None:
    database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(DatabaseRefused) as caught:
        database.execute("SELECT 1")
    for part in (path, "version is 7", "up to 1", "Upgrade worker-broker-sqlite, or name another file"):
        assert part in str(caught.value)


def test_the_database_of_another_program_is_refused_and_left_alone(path: str) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(DatabaseRefused, match="another program"):
        Database(path).execute("SELECT 1")
    other = sqlite3.connect(path)
    assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    other.close()


def test_a_file_that_is_no_database_is_refused(path: str) -> None:
    Path(path).write_text("not a database, but a text of some length\n" * 100)
    with pytest.raises(DatabaseRefused, match="Name another file"):
        Database(path).execute("SELECT 1")


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_removed_while_open_is_written_no_more_and_made_anew(
    database: Database, path: str, replaced: bool
) -> None:
    with database.transaction() as tx:
        tx.execute("INSERT INTO queues VALUES ('old')")
    for file in Path(path).parent.glob(f"{Path(path).name}*"):
        if file.is_file():
            file.unlink()
    other = Database(path)
    if replaced:
        other.execute("SELECT 1")
    with pytest.raises(DatabaseUnavailable, match="removed or replaced while it was open"), database.transaction():
        pytest.fail("nobody would read what is written here")
    with database.transaction() as tx:
        tx.execute("INSERT INTO queues VALUES ('new')")
    assert other.execute("SELECT name FROM queues") == [("new",)]
    other.close()


def test_an_old_library_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OLDEST_SQLITE", (99, 0, 0))
    with pytest.raises(DatabaseRefused, match=r"older than 99\.0\.0"):
        Database(path).execute("SELECT 1")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"the directory .*/missing does not exist\. Create it"):
        Database(str(tmp_path / "missing" / "jobs.db")).execute("SELECT 1")


def test_a_path_that_cannot_be_written_is_an_operational_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").mkdir()
    with pytest.raises(OperationalError, match="Allow this user to write"):
        Database(str(tmp_path / "jobs.db")).execute("SELECT 1")


def test_a_lock_that_is_held_for_too_long_says_so(database: Database, path: str) -> None:
    hasty = Database(path, busy_timeout=0.0)
    with database.transaction(), pytest.raises(DatabaseUnavailable, match="raise busy_timeout"), hasty.transaction():
        pass
    hasty.close()


@pytest.mark.parametrize(
    ("text", "says"), [("database or disk is full", "Free some space"), ("disk I/O error", "Check the disk")]
)
def test_trouble_with_the_disk_says_what_to_do(path: str, text: str, says: str) -> None:
    assert says in str(module._unavailable(path, sqlite3.OperationalError(text)))


def test_nested_transactions_are_one(database: Database) -> None:
    def fail() -> None:
        with database.transaction():
            with database.transaction() as tx:
                tx.execute("INSERT INTO queues (name) VALUES ('q')")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert database.execute("SELECT * FROM queues") == []


def test_callbacks_run_once_after_the_commit_and_never_after_a_rollback(database: Database) -> None:
    called: list[str] = []
    with database.transaction() as tx:
        tx.on_commit(lambda: called.append("committed"))
        assert called == []

    def fail() -> None:
        with database.transaction() as tx:
            tx.on_commit(lambda: called.append("rolled back"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.transaction():
        pass
    assert called == ["committed"]


def test_processes_that_open_a_new_file_at_once_all_succeed(path: str) -> None:
    code = f"from worker_broker_sqlite.database import Database; Database({path!r}).execute('SELECT * FROM queues')"
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(6)]
    assert [child.wait(30) for child in children] == [0] * 6


def test_threads_that_open_a_new_file_at_once_all_succeed(path: str) -> None:
    failures: list[BaseException] = []

    def open_it(file: str, barrier: threading.Barrier) -> None:
        database = Database(file)
        barrier.wait()
        try:
            database.execute("SELECT * FROM queues")
        except DatabaseError as error:
            failures.append(error)
        finally:
            database.close()

    for number in range(40):
        barrier = threading.Barrier(4)
        threads = [threading.Thread(target=open_it, args=(f"{path}-{number}", barrier)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


def in_a_child(act: Callable[[], bool]) -> bool:
    """Whether ``act`` returned true in a forked child."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = not act()
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


@forks
def test_a_fork_finds_no_file_open_and_both_sides_open_it_anew(database: Database) -> None:
    database.execute("INSERT INTO queues (name) VALUES ('parent')")
    before, version = database.connection, database.data_version()

    def write() -> bool:
        mine = [str(fd.resolve()) for fd in Path("/proc/self/fd").glob("*")]
        database.execute("INSERT INTO queues (name) VALUES ('child')")
        database.close()
        return not any("jobs.db" in target for target in mine)

    assert in_a_child(write)
    assert database.data_version() != version
    assert database.connection is not before
    assert database.execute("SELECT name FROM queues") == [("child",), ("parent",)]


@forks
def test_a_forked_child_and_its_parent_lock_each_other_out(database: Database) -> None:
    """What is carried over a fork, SQLite would take for its own lock."""
    database.execute("SELECT 1")
    go_in, go_out = os.pipe()

    def hold() -> bool:
        with database.transaction():
            os.write(go_out, b"x")
            time.sleep(0.5)
            database.execute("INSERT INTO queues (name) VALUES ('child')")
        return True

    child = threading.Thread(target=lambda: results.append(in_a_child(hold)))
    results: list[bool] = []
    child.start()
    os.read(go_in, 1)
    with database.transaction():
        found = database.execute("SELECT name FROM queues")
    child.join()
    os.close(go_in)
    os.close(go_out)
    assert results == [True]
    assert found == [("child",)]


@forks
def test_a_fork_waits_for_a_transaction_of_another_thread(database: Database) -> None:
    inside, over = threading.Event(), threading.Event()

    def write() -> None:
        with database.transaction():
            inside.set()
            time.sleep(0.2)
            database.execute("INSERT INTO queues (name) VALUES ('parent')")
            over.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert inside.wait(20)
    assert in_a_child(lambda: over.is_set() and database.execute("SELECT name FROM queues") == [("parent",)])
    thread.join()


@forks
def test_a_file_that_was_in_a_transaction_at_the_fork_is_refused_in_the_child(database: Database) -> None:
    def use() -> bool:
        with pytest.raises(DatabaseRefused, match="forked"):
            database.execute("SELECT 1")
        with pytest.raises(DatabaseRefused, match="forked"):
            Database(database.path).execute("SELECT 1")
        return True

    with database.transaction():
        database.execute("INSERT INTO queues (name) VALUES ('parent')")
        assert in_a_child(use)
    assert database.execute("SELECT name FROM queues") == [("parent",)]


@forks
def test_a_fork_behind_a_thread_that_does_not_come_to_an_end_leaves_the_child_a_refusal(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FORK_PATIENCE", 0.05)
    inside, go = threading.Event(), threading.Event()

    def hold() -> None:
        with database.transaction():
            inside.set()
            go.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(20)

    def use() -> bool:
        with pytest.raises(DatabaseRefused, match="forked"):
            database.execute("SELECT 1")
        return True

    assert in_a_child(use)
    go.set()
    thread.join()


@forks
def test_a_file_that_was_replaced_since_the_fork_is_noticed(database: Database) -> None:
    database.execute("SELECT 1")
    assert in_a_child(lambda: True)
    Path(database.path).unlink()
    with pytest.raises(DatabaseUnavailable, match="removed or replaced"):
        database.execute("SELECT 1")
    assert database.execute("SELECT 1") == [(1,)]
