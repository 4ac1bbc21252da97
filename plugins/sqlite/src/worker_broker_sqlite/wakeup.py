"""Waking a waiting process: each waiter owns a FIFO, a writer finds its name in the table ``waiters``.

A waiter arms itself in the very transaction that found nothing, so no message can slip in between; the transaction
that brings something takes the names out again, and a byte goes to each FIFO after its commit.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import stat
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .database import Database

log = logging.getLogger("worker_broker_sqlite")

POLL_INTERVAL = 0.05
"""Seconds between two looks at the file where there are no FIFOs."""


class Waiter(Protocol):
    """Something to sleep on until there may be news.

    `wake` may be called from any thread; everything else belongs to the thread that owns the connection.
    """

    @property
    def name(self) -> str | None:
        """What to put into the table ``waiters``; None where writers cannot reach this waiter."""

    @property
    def poll_interval(self) -> float | None:
        """Seconds after which to look anyway, for want of FIFOs; None where news wakes."""

    def fileno(self) -> int:
        """The descriptor that becomes readable at news."""

    def wake(self) -> None:
        """Make the descriptor readable. Never blocks, never raises."""

    def drain(self) -> None:
        """Make the descriptor unreadable again."""

    def close(self) -> None:
        """Give up the descriptor. Idempotent."""


def open_waiter(path: str) -> Waiter:
    """A waiter for the database at `path`: on a FIFO, or a polling one where the platform or the disk has none.

    Raises:
        OSError: the process has no descriptors left.
    """
    if hasattr(os, "mkfifo"):
        try:
            return FifoWaiter(path)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            log.warning("no FIFO beside %s (%s): looking at the file every %g s instead", path, error, POLL_INTERVAL)
    return PollingWaiter()


def wait(waiter: Waiter, timeout: float | None) -> bool:
    """Sleep until `waiter` is woken, at most `timeout` seconds (None: for ever); say whether it was."""
    poll = getattr(select, "poll", None)  # looked up late: a patched one is to be used where there is one
    if poll is None:
        return bool(select.select([waiter], [], [], timeout)[0])
    poller = poll()
    poller.register(waiter.fileno(), select.POLLIN)
    return bool(poller.poll(None if timeout is None else max(0.0, timeout * 1000)))


class FifoWaiter:
    """Waits on a FIFO of its own beside the database, so that any process that can write the file can wake it."""

    poll_interval: float | None = None

    def __init__(self, path: str) -> None:
        directory = wake_directory(path)
        directory.mkdir(exist_ok=True)
        remove_dead(directory)
        self.name: str | None = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._file = directory / self.name
        # Opened under another name first: whoever finds a name without a reader behind it takes it for dead.
        unborn = directory / f".{self.name}"
        os.mkfifo(unborn)
        try:
            self._reader = os.open(unborn, os.O_RDONLY | os.O_NONBLOCK)
            self._writer = os.open(unborn, os.O_WRONLY | os.O_NONBLOCK)  # also keeps the reader from seeing an end
        finally:
            unborn.rename(self._file)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._open = True

    def fileno(self) -> int:
        """The reading end."""
        return self._reader

    def wake(self) -> None:
        """Make it readable. Thread-safe."""
        if self._lock.acquire(blocking=False):  # else somebody else is writing a byte at this moment, or closes
            try:
                if self._open:
                    with contextlib.suppress(OSError):  # full: it is readable already
                        os.write(self._writer, b"\0")
            finally:
                self._lock.release()

    def drain(self) -> None:
        """Make it unreadable again."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._reader, 4096)) == 4096:
                pass

    def close(self) -> None:
        """Give up the descriptors. Idempotent."""
        with self._lock:  # no other thread may write to a number that is somebody else's by then
            if not self._open:
                return
            self._open = False
            os.close(self._reader)
            os.close(self._writer)
        if self._pid == os.getpid():
            self._file.unlink(missing_ok=True)


class PollingWaiter:
    """Waits on a socket pair for this process's own news, and asks its owner to look at the file now and then."""

    name: str | None = None
    poll_interval: float | None = POLL_INTERVAL

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """The reading end."""
        return self._reader.fileno()

    def wake(self) -> None:
        """Make it readable. Thread-safe."""
        with contextlib.suppress(OSError):  # full or closed
            self._writer.send(b"\0")

    def drain(self) -> None:
        """Make it unreadable again."""
        with contextlib.suppress(BlockingIOError):
            while len(self._reader.recv(4096)) == 4096:
                pass

    def close(self) -> None:
        """Give up the descriptors. Idempotent."""
        self._reader.close()
        self._writer.close()


def arm(database: Database, topics: Iterable[str], name: str) -> None:
    """Have the next `call` for any of the topics wake the waiter `name`. Inside the transaction that found nothing."""
    for topic in topics:
        database.execute("INSERT OR IGNORE INTO waiters (topic, name) VALUES (?, ?)", (topic, name))


def disarm(database: Database, name: str) -> None:
    """Take the waiter `name` out of the table. Inside a transaction."""
    database.execute("DELETE FROM waiters WHERE name = ?", (name,))


def call(database: Database, topics: Iterable[str]) -> None:
    """Wake everyone who waits for one of the topics, once the transaction at hand is committed."""
    names: set[str] = set()
    for topic in topics:
        names.update(
            name for (name,) in database.execute("DELETE FROM waiters WHERE topic = ? RETURNING name", (topic,))
        )
    if names:
        database.on_commit(lambda: _ring_all(database.path, names))


def ring(fifo: Path) -> None:
    """Write one byte to a FIFO; remove it when nobody reads it any more. Never blocks, never raises OSError."""
    try:
        descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # its reader is dead
            with contextlib.suppress(OSError):
                fifo.unlink()
        return
    try:
        os.write(descriptor, b"\0")
    except OSError:
        pass  # full, so it is readable already; or its reader has just died
    finally:
        os.close(descriptor)


def remove_dead(directory: Path) -> None:
    """Remove the FIFOs that killed processes left behind."""
    for fifo in sorted(directory.iterdir()):
        if fifo.name.startswith("."):
            continue
        try:
            if stat.S_ISFIFO(fifo.lstat().st_mode):
                os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno == errno.ENXIO:
                with contextlib.suppress(OSError):
                    fifo.unlink()


def _ring_all(path: str, names: Iterable[str]) -> None:
    for name in sorted(names):
        ring(wake_directory(path) / Path(name).name)


def wake_directory(path: str) -> Path:
    """Where the FIFOs of the database at `path` lie."""
    return Path(f"{path}-wake")
