"""Slots: the right to run one job, counted once and given back exactly once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext


class Slots:
    """Counts how many jobs may run. At every moment ``limit == running + free``, unless it was shrunk below running.

    Thread-safe if it is given a lock. The default is none: on the hub only the loop's thread uses it.
    """

    def __init__(self, limit: int, lock: AbstractContextManager[object] | None = None) -> None:
        self._lock = lock
        self._limit = limit
        self._running = 0
        self.when_full: Callable[[], None] | None = None
        """Called by whoever has just taken the last free slot; must not block."""

    @property
    def limit(self) -> int:
        """How many jobs may run at a time."""
        return self._limit

    @property
    def running(self) -> int:
        """How many tickets are out."""
        return self._running

    @property
    def free(self) -> int:
        """How many more may run now (>= 0)."""
        free = self._limit - self._running
        return free if free > 0 else 0

    def take(self) -> Ticket | None:
        """Take a slot, or return None where none is free."""
        if self._lock is None:
            taken = self._take()
        else:
            with self._lock:
                taken = self._take()
        if not taken:
            return None
        if self.when_full is not None and self._running >= self._limit:
            self.when_full()
        return Ticket(self)

    def _take(self) -> bool:
        if self._running >= self._limit:
            return False
        self._running += 1
        return True

    def resize(self, limit: int) -> None:
        """Change the limit (>= 1). Tickets that are out stay valid: a shrunk pool runs down to its new size."""
        self._limit = limit

    def recount(self, running: int) -> None:
        """Correct how many tickets are out (>= 0), where they were counted by other means: the slot audit."""
        with self._lock or nullcontext():
            self._running = running

    def _give_back(self, ticket: Ticket) -> bool:
        if self._lock is None:
            return self._count_back(ticket)
        with self._lock:
            return self._count_back(ticket)

    def _count_back(self, ticket: Ticket) -> bool:
        if ticket.released:
            return False
        ticket.released = True
        self._running -= 1
        return True


class Ticket:
    """The right to run one job, from `Slots.take`."""

    __slots__ = ("_slots", "released")

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self.released = False

    def release(self) -> bool:
        """Give the slot back; only the first call does. Returns whether this one did."""
        return self._slots._give_back(self)  # noqa: SLF001  (a ticket is a part of its slots)
