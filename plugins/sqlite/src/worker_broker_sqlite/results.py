"""The result store in the broker's file."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from worker_kernel import LeaseLost, ResultStore, StoreUnavailable

from .address import Address
from .database import Database, DatabaseError
from .queues import is_held
from .wakeup import arm, call, disarm, open_waiter, wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from worker_kernel import Fence

READY_STATES = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
CLEANING = 60.0
"""Seconds between two removals of expired results."""
SAFETY_NET = 5.0
"""Seconds after which a waiting reader looks anyway: a writer may be killed between its commit and its wake-up."""


class SqliteResultStore(ResultStore):
    """Results of tasks, in Celery's layout, in the file that is also the broker's.

    Thread-safe: one connection behind a lock, opened on first use, and anew in a forked child. `wait` waits outside
    of the lock.
    """

    def __init__(self, url: str, expires: float | None = None, *, now: Callable[[], float] = time.time) -> None:
        """Remember where the file is; nothing is opened.

        Args:
            url: As the broker's: ``sqlite:///jobs.db``.
            expires: Seconds for which a result is kept; None, 0 or inf: for ever.
            now: The wall clock.

        Raises:
            InvalidUrl: see `Address.from_url`.
        """
        self.address = Address.from_url(url)
        """The file and the options."""
        self.expires = expires if expires and math.isfinite(expires) else None
        """Seconds; None: for ever."""
        self._now = now
        self._database = Database(self.address.path, busy_timeout=self.address.busy_timeout)
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._next_cleaning = 0.0

    def store(self, meta: Mapping[str, object], *, fence: Fence | None = None) -> None:
        """Write a task's state. A SUCCESS that is there stays, as with Celery.

        Args:
            meta: Celery's layout, with ``task_id`` and ``status``; safe for JSON.
            fence: Proof that the message is still the caller's, looked at in the transaction that writes. One of
                another authority than this file proves nothing here and is not looked at.

        Raises:
            LeaseLost: the message has passed into other hands; nothing was written.
            StoreUnavailable: the file does not serve.
        """
        task_id, status = str(meta["task_id"]), str(meta["status"])
        text = json.dumps(dict(meta))
        now = self._now()
        with self._file() as database, database.transaction() as tx:
            if fence is not None and fence.authority == self.address.path and not is_held(tx, fence.token):
                raise LeaseLost(
                    f"the result of task {task_id} ({status}) came after its message had passed into other hands: "
                    "it was not stored"
                )
            if now >= self._next_cleaning:
                tx.execute("DELETE FROM results WHERE expires <= ?", (now,))
                self._next_cleaning = now + CLEANING
            expires = None if self.expires is None else now + self.expires
            tx.execute(
                "INSERT INTO results (task_id, status, meta, expires) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (task_id) DO UPDATE SET status = excluded.status, meta = excluded.meta, "
                "expires = excluded.expires WHERE results.status <> 'SUCCESS' OR results.expires <= ?",
                (task_id, status, text, expires, now),
            )
            if status in READY_STATES:
                call(tx, [topic(task_id)])

    def get(self, task_id: str) -> dict[str, Any] | None:
        """The task's state as it was stored; None when there is none, or it has expired.

        Raises:
            StoreUnavailable: the file does not serve.
        """
        with self._file() as database:
            return self._read(database, task_id)

    def wait(self, task_id: str, timeout: float | None = None) -> dict[str, Any] | None:
        """Block until the task has succeeded, failed or was revoked, and return its state.

        Args:
            task_id: The task.
            timeout: Seconds, 0 or more; None: for ever.

        Returns:
            The state, or None when it was not final in time.

        Raises:
            StoreUnavailable: the file does not serve.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        found = self.get(task_id)
        if _is_final(found) or time.monotonic() >= deadline:
            return found if _is_final(found) else None
        waiter = open_waiter(self.address.path)
        try:
            while True:
                found = self.get(task_id) if waiter.name is None else self._get_or_arm(task_id, waiter.name)
                left = deadline - time.monotonic()
                if _is_final(found) or left <= 0:
                    return found if _is_final(found) else None
                wait(waiter, min(left, waiter.poll_interval or SAFETY_NET))
                waiter.drain()
        finally:
            if waiter.name is not None:
                with self._file() as database, database.transaction() as tx:
                    disarm(tx, waiter.name)
            waiter.close()

    def forget(self, task_id: str) -> None:
        """Remove what is stored of the task, if anything, a SUCCESS too.

        Raises:
            StoreUnavailable: the file does not serve.
        """
        with self._file() as database, database.transaction() as tx:
            tx.execute("DELETE FROM results WHERE task_id = ?", (task_id,))

    def close(self) -> None:
        """Close the file. Idempotent; the next use opens it again."""
        with self._file() as database:
            database.close()

    def _get_or_arm(self, task_id: str, name: str) -> dict[str, Any] | None:
        """What there is of the task; where that is not final, `name` will be woken when it becomes so."""
        with self._file() as database, database.transaction() as tx:
            found = self._read(tx, task_id)
            if not _is_final(found):
                arm(tx, [topic(task_id)], name)
            return found

    def _read(self, database: Database, task_id: str) -> dict[str, Any] | None:
        rows = database.execute(
            "SELECT meta FROM results WHERE task_id = ? AND (expires IS NULL OR expires > ?)", (task_id, self._now())
        )
        return dict(json.loads(rows[0][0])) if rows else None

    @contextmanager
    def _file(self) -> Iterator[Database]:
        if self._pid != os.getpid():  # the lock may have been held by a thread that the fork left behind
            self._lock, self._pid = threading.RLock(), os.getpid()
        with self._lock:
            if self._database.displaced():  # a store has nothing to remember of the file before
                self._database.close()
            try:
                yield self._database
            except DatabaseError as error:
                raise StoreUnavailable(str(error)) from error


def topic(task_id: str) -> str:
    """The topic under which readers of a task's result wait."""
    return f"result:{task_id}"


def _is_final(meta: Mapping[str, object] | None) -> bool:
    return meta is not None and meta.get("status") in READY_STATES
