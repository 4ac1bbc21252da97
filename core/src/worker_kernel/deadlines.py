"""Calls at a given time, from one watchdog thread; and what ends the process when no Python can run any more."""

from __future__ import annotations

import faulthandler
import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from .clock import Clock
from .native import THREADS, Native

log = logging.getLogger("worker_kernel.limits")

_STDERR = 2
_COMPACT_FROM = 64
"""Cancelled entries are swept out once there are this many, and more than live ones."""


class Backstop(Protocol):
    """Ends the process when a deadline has passed and nobody could act on it."""

    def cover(self, deadline: float | None) -> None:
        """Guard ``deadline``, a time of the clock, instead of whatever was guarded; None: guard nothing."""
        ...


class NativeBackstop:
    """Ends the process, exit code 1 and the stacks on stderr, when code holds the GIL past a deadline.

    It is faulthandler's timer, a thread that needs no GIL. It goes off between ``margin`` and ``margin + slack``
    seconds after the deadline; within the slack it need not be set anew for each job (that costs 80 microseconds).
    The timer is the process's only one: where two pools, or the application, use it, the one that was set last counts.
    A process that was stopped (SIGSTOP) past its deadline ends when it goes on.
    """

    def __init__(self, clock: Clock, *, margin: float, slack: float = 1.0) -> None:
        """Args: ``margin`` and ``slack``, both seconds > 0."""
        self._clock = clock
        self._margin = margin
        self._slack = slack
        self._set_for: float | None = None

    def cover(self, deadline: float | None) -> None:
        """See `Backstop.cover`. Not thread-safe: `Deadlines` calls it under its lock."""
        if deadline is None:
            if self._set_for is not None:
                self._set_for = None
                faulthandler.cancel_dump_traceback_later()
            return
        earliest = deadline + self._margin
        if self._set_for is not None and earliest <= self._set_for <= earliest + self._slack:
            return
        self._set_for = earliest + self._slack
        delay = max(self._set_for - self._clock.monotonic(), self._margin)
        faulthandler.dump_traceback_later(min(delay, threading.TIMEOUT_MAX), exit=True, file=_STDERR)


class Deadline:
    """One call to come."""

    __slots__ = ("_action", "_owner", "when")

    def __init__(self, owner: Deadlines, when: float, action: Callable[[], object]) -> None:
        self._owner = owner
        self._action: Callable[[], object] | None = action
        self.when = when

    @property
    def pending(self) -> bool:
        """Whether the call has neither been made nor cancelled."""
        return self._action is not None

    def cancel(self) -> None:
        """Forget the call. One that the watchdog has begun goes on. Idempotent, callable from any thread."""
        self._owner._forget(self)  # noqa: SLF001  (the two are one thing)

    def _take(self) -> Callable[[], object] | None:
        action, self._action = self._action, None
        return action


class Deadlines:
    """Makes calls when their time has come, in the order of their times, on one thread of its own.

    The thread is a daemon, starts with the first deadline, sleeps until the next one (it never polls), and ends with
    `stop`. Methods may be called from any thread; calls are made with no lock held; one that raises is logged.

    *Guarded* deadlines are those that must not be missed: should no Python run when one has passed, the backstop ends
    the process. It is brought in line by `cover`, which whoever runs tasks calls when one begins or ends: cancelling
    alone leaves it be, so that short jobs one after the other do not set a native timer each.
    """

    def __init__(self, clock: Clock, *, name: str, backstop: Backstop | None = None, native: Native = THREADS) -> None:
        """Make an empty list.

        Args:
            clock: the time of the deadlines.
            name: the thread's.
            backstop: what guards; None guards nothing.
            native: what the thread is made of.
        """
        self._clock = clock
        self._name = name
        self._backstop = backstop
        self._native = native
        self._lock = native.lock()
        self._bell = native.lock()
        """Taken, but for a moment: whoever gives it back wakes the thread."""
        self._bell.acquire()
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Deadline]] = []
        self._guarded: list[tuple[float, int, Deadline]] = []
        self._cancelled = 0
        self._join: Callable[[], None] | None = None
        self._thread = 0
        self._stopped = False

    def at(self, when: float, action: Callable[[], object], *, guarded: bool = False) -> Deadline:
        """Call ``action()`` at ``when``, a time of the clock; ``inf``, or a time after `stop`, never comes."""
        deadline = Deadline(self, when, action)
        with self._lock:
            if self._stopped or when == float("inf"):
                deadline._take()  # noqa: SLF001
                return deadline
            entry = (when, next(self._order), deadline)
            heapq.heappush(self._heap, entry)
            if guarded:
                heapq.heappush(self._guarded, entry)
            if self._join is None:
                self._join = self._native.start(self._run, self._name)
            elif self._heap[0] is entry:
                self._ring()
        return deadline

    def cover(self) -> None:
        """Bring the backstop in line with the guarded deadlines that are pending now."""
        with self._lock:
            self._cover()

    def stop(self) -> None:
        """Make no more calls, wait for one that is being made, and guard nothing. Idempotent."""
        with self._lock:
            self._stopped = True
            self._heap.clear()
            self._guarded.clear()
            self._cover()
            self._ring()
            join = self._join
        if join is not None and self._thread != self._native.ident():
            join()

    def _ring(self) -> None:
        if self._bell.locked():  # else it rings already; nobody else gives it back meanwhile, since we have the lock
            self._bell.release()

    def _forget(self, deadline: Deadline) -> None:
        with self._lock:
            if deadline._take() is None:  # noqa: SLF001
                return
            self._cancelled += 1
            if self._cancelled >= _COMPACT_FROM and self._cancelled * 2 > len(self._heap):
                self._heap = [entry for entry in self._heap if entry[2].pending]
                heapq.heapify(self._heap)
                self._cancelled = 0
                self._cover()  # the watchdog may now sleep past the time at which it would have seen to this

    def _cover(self) -> None:
        if self._backstop is None:
            return
        while self._guarded and not self._guarded[0][2].pending:
            heapq.heappop(self._guarded)
        self._backstop.cover(self._guarded[0][0] if self._guarded else None)

    def _run(self) -> None:
        self._thread = self._native.ident()
        while (action := self._next()) is not None:
            try:
                action()
            except Exception:
                log.exception("a deadline's action raised")

    def _next(self) -> Callable[[], object] | None:
        """Sleep until a call is due and return it; None: stopped."""
        while True:
            with self._lock:
                if self._stopped:
                    return None
                delay = self._heap[0][0] - self._clock.monotonic() if self._heap else None
                if delay is not None and delay <= 0:
                    action = heapq.heappop(self._heap)[2]._take()  # noqa: SLF001
                    if action is not None:
                        return action
                    self._cancelled = max(0, self._cancelled - 1)
                    continue
                self._cover()
            self._bell.acquire(True, -1.0 if delay is None else min(delay, threading.TIMEOUT_MAX))
