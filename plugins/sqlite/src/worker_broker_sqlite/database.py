"""The database file: opening, schema, transactions, and errors that say what to do."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError

from .address import DEFAULT_BUSY_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SCHEMA_VERSION = 1
APPLICATION_ID = int.from_bytes(b"wksq", "big")
OLDEST_SQLITE = (3, 35, 0)  # UPDATE ... RETURNING

# state: 0 ready, 1 waiting until `due`, 2 held under `token` until `lease`.  Times are wall clock, in seconds.
# The content lies apart, so that a renewal of a lease does not write a large body again.
SCHEMA = """
CREATE TABLE queues (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE exchanges (name TEXT PRIMARY KEY, type TEXT NOT NULL, arguments TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE bindings (
    exchange TEXT NOT NULL, routing_key TEXT NOT NULL, queue TEXT NOT NULL,
    PRIMARY KEY (exchange, routing_key, queue)
) WITHOUT ROWID;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    state INTEGER NOT NULL,
    due REAL,
    token TEXT,
    lease REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    redelivered INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX messages_ready ON messages (queue, rank, id) WHERE state = 0;
CREATE INDEX messages_waiting ON messages (queue, due) WHERE state = 1;
CREATE INDEX messages_held ON messages (queue, lease) WHERE state = 2;
CREATE UNIQUE INDEX messages_token ON messages (token) WHERE token IS NOT NULL;
CREATE TABLE contents (id INTEGER PRIMARY KEY, head TEXT NOT NULL, body BLOB);
CREATE TABLE waiters (topic TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (topic, name)) WITHOUT ROWID;
CREATE TABLE results (task_id TEXT PRIMARY KEY, status TEXT NOT NULL, meta TEXT NOT NULL, expires REAL) WITHOUT ROWID;
CREATE INDEX results_expires ON results (expires) WHERE expires IS NOT NULL;
"""

FORK_PATIENCE = 10.0
"""Seconds that a fork waits for what other threads are doing with a database."""
_ALL: weakref.WeakSet[Database] = weakref.WeakSet()
_ALL_LOCK = threading.RLock()
_INHERITED: list[sqlite3.Connection] = []
"""Connections carried over a fork: closing one in the child would touch the locks and the log of the parent."""
_SPOILT: set[tuple[int, int] | None] = set()
"""The files of these. SQLite's library still takes them for open here, and would lock what is not theirs."""


class DatabaseError(OperationalError):  # type: ignore[misc]  # kombu is untyped
    """The database file cannot serve. The message says which file, why, and what to do."""

    def __init__(self, path: str, why: str, remedy: str) -> None:
        self.path = path
        """Absolute path of the file."""
        self.why = why
        """The cause, without the file's name."""
        self.remedy = remedy
        """What to do about it."""
        super().__init__(f"SQLite database {path}: {why}. {remedy}")


class DatabaseUnavailable(DatabaseError):
    """The file cannot be used at the moment: missing directory, no permission, locked, disk full. May pass."""


class DatabaseRefused(DatabaseError):
    """The file is not ours or not of our version, or SQLite is too old. Trying again cannot help."""


class Database:
    """One connection to the file, opened on first use.

    Owned by one thread at a time, and may migrate between threads.  Fork-safe: SQLite carries nothing over a fork, not
    even knowledge of which files are open and locked, so every connection of the process is closed before one, and
    parent and child open the file anew at the next use.  Everything is written in ``BEGIN IMMEDIATE`` transactions;
    with ``synchronous=NORMAL`` a commit survives the death of the process at once, and a power cut from the next
    checkpoint on.
    """

    def __init__(self, path: str, *, busy_timeout: float = DEFAULT_BUSY_TIMEOUT) -> None:
        """Remember where the file is; nothing is opened.

        Args:
            path: Canonical absolute path.
            busy_timeout: Seconds to wait for another process's write; 0 fails at once.
        """
        self.path = path
        self.busy_timeout = busy_timeout
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._file: tuple[int, int] | None = None
        self._times_opened = 0
        self._suspended = False
        self._in_use = threading.RLock()
        self._depth = 0
        self._on_commit: list[Callable[[], None]] = []
        with _ALL_LOCK:
            _ALL.add(self)

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this process, opened if need be.

        Raises:
            DatabaseError: the file cannot serve.
        """
        if self._connection is None or self._pid != os.getpid():
            with self._in_use:
                self._leave_inherited()
                self._check_place()
                self._connection = self._open()
                self._pid = os.getpid()
                self._file = _identity(self.path)
                self._suspended = False
                self._times_opened += 1
        return self._connection

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """Run one statement and return all its rows.

        Raises:
            DatabaseUnavailable: SQLite failed.
        """
        with self._in_use:
            try:
                return self.connection.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise _unavailable(self.path, error) from error

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """Hold the write lock for the block; commit at its end, roll back when it raises.

        Nested blocks join the outermost one.

        Raises:
            DatabaseUnavailable: the lock was not free within `busy_timeout`, the file was removed or replaced while
                it was open (the next use opens what is there then, or a fresh one), or SQLite failed.
        """
        if self._depth:
            yield self
            return
        with self._in_use:
            self._check_place()
            self.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield self
                self.execute("COMMIT")
            except BaseException:
                self._on_commit.clear()
                if self._connection is not None and self._connection.in_transaction:
                    self._connection.rollback()
                raise
            finally:
                self._depth = 0
            callbacks, self._on_commit = self._on_commit, []
        for callback in callbacks:
            callback()

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once after the transaction at hand is committed, never if it is rolled back."""
        self._on_commit.append(callback)

    def data_version(self) -> int:
        """A number that differs from the one before when another connection has written meanwhile."""
        version = int(self.execute("PRAGMA data_version")[0][0])
        return (self._times_opened << 32) + version  # each connection counts for itself

    def close(self) -> None:
        """Close the connection, if this process has one. May be called twice; the next use opens the file again."""
        with self._in_use:
            if self._pid == os.getpid() and self._connection is not None:
                self._connection.close()
                self._connection = None
            self._suspended = False
            self._leave_inherited()

    def __del__(self) -> None:
        self._leave_inherited()

    def displaced(self) -> bool:
        """Whether a file is open that is not the one at the path any more: it was removed or replaced."""
        known = self._suspended or self._connection is not None
        return known and self._pid == os.getpid() and _identity(self.path) != self._file

    def _check_place(self) -> None:
        if self.displaced():  # what is written to a file without a name, nobody reads
            self.close()
            raise DatabaseUnavailable(
                self.path,
                "the file was removed or replaced while it was open",
                "What it held is gone with it; a fresh file takes its place.",
            )

    def _leave_inherited(self) -> None:
        connection, pid = getattr(self, "_connection", None), getattr(self, "_pid", 0)
        if connection is not None and pid != os.getpid():
            _INHERITED.append(connection)
            _SPOILT.add(self._file)
            self._connection = None
            self._depth = 0
            self._on_commit = []

    def _open(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            why = f"the SQLite library of this Python is {sqlite3.sqlite_version}, older than {oldest}"
            raise DatabaseRefused(self.path, why, "Use a newer Python or a newer SQLite library.")
        if _SPOILT and _identity(self.path) in _SPOILT:
            raise DatabaseRefused(
                self.path,
                "it was in use while this process was forked, which SQLite does not allow",
                "Fork outside its transactions, or start the process anew (spawn).",
            )
        try:
            connection = sqlite3.connect(
                self.path, timeout=self.busy_timeout, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise _unavailable(self.path, error) from error
        try:
            self._set_up(connection)
        except sqlite3.Error as error:
            connection.close()
            raise _unavailable(self.path, error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")  # one look at one state: another process may be creating the schema
        ours = self._is_ours(connection)
        connection.execute("COMMIT")
        if not ours:
            self._use_write_ahead_log(connection)
            connection.execute("BEGIN IMMEDIATE")
            if not self._is_ours(connection):  # another process may have been faster
                for statement in SCHEMA.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        connection.execute("PRAGMA synchronous = NORMAL")

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Whether the schema is there; False for an empty file."""
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables and not found:
            return False
        if application != APPLICATION_ID:
            raise DatabaseRefused(
                self.path, "it is a database of another program", "Name another file, or one that does not exist yet."
            )
        if found > SCHEMA_VERSION:
            raise DatabaseRefused(
                self.path,
                f"its schema version is {found}, and this worker-broker-sqlite supports up to {SCHEMA_VERSION}",
                "Upgrade worker-broker-sqlite, or name another file.",
            )
        return True

    def _use_write_ahead_log(self, connection: sqlite3.Connection) -> None:
        # SQLite does not wait its busy timeout for this switch when several processes open a new file at once.
        give_up = time.monotonic() + self.busy_timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= give_up:
                    raise
                time.sleep(0.01)

    def _suspend(self) -> bool:
        """Close for the time of a fork. False: somebody is in a transaction, so that it stays open."""
        if not self._in_use.acquire(timeout=FORK_PATIENCE):
            return False
        if not self._depth and self._connection is not None and self._pid == os.getpid():
            self._connection.close()
            self._connection = None
            self._suspended = True
        return True


_SUSPENDED: list[Database] = []


def _before_fork() -> None:
    _ALL_LOCK.acquire()
    _SUSPENDED.extend(database for database in _ALL if database._suspend())  # noqa: SLF001  (the two are one thing)


def _after_fork() -> None:
    while _SUSPENDED:
        _SUSPENDED.pop()._in_use.release()  # noqa: SLF001  (the two are one thing)
    _ALL_LOCK.release()


def _after_fork_in_child() -> None:
    _after_fork()
    for database in list(_ALL):
        database._leave_inherited()  # noqa: SLF001  (the two are one thing)
        database._in_use = threading.RLock()  # noqa: SLF001  (a thread of the parent's may have had it)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


def _identity(path: str) -> tuple[int, int] | None:
    """Which file lies at the path; None: none does."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _unavailable(path: str, error: sqlite3.Error) -> DatabaseError:
    """Turn an error of SQLite into one that says what to do."""
    text = str(error)
    directory = Path(path).parent
    if "not a database" in text or "malformed" in text:
        return DatabaseRefused(path, f"{text}", "Name another file, or restore this one from a backup.")
    if "locked" in text or "busy" in text:
        remedy = "Another process has held the write lock for too long: end it, or raise busy_timeout in the URL."
    elif not directory.is_dir():
        text, remedy = f"the directory {directory} does not exist", "Create it, or correct the path in the URL."
    elif "unable to open" in text or "readonly" in text:
        remedy = f"Allow this user to write the file and its directory {directory}, or name another file."
    elif "full" in text:
        remedy = "Free some space on the disk."
    else:
        remedy = "Check the disk and the permissions of the file; if the file is damaged, restore it from a backup."
    return DatabaseUnavailable(path, text, remedy)
