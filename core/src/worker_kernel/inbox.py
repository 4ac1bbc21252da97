"""What a pool tells from any thread, kept in order for the thread of the loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import attrs

from .job import Job
from .outcome import Outcome
from .pool import Slot


class Accepted(NamedTuple):  # made in C, as the next one: there are two for each task
    """A job is about to start."""

    job: Job
    """Which."""
    slot: Slot
    """Where."""


class Finished(NamedTuple):
    """A job has ended."""

    job: Job
    """Which."""
    outcome: Outcome
    """How."""


@attrs.frozen(kw_only=True)
class Resized:
    """The pool has another number of slots."""

    size: int
    """How many."""


@attrs.frozen(kw_only=True)
class Failing:
    """The pool cannot go on."""

    reason: str
    """Why."""
    exit_code: int
    """What the process is to exit with."""


PoolEvent = Accepted | Finished | Resized | Failing


class PoolInbox:
    """A `PoolListener` that never blocks: one FIFO for all events, and one wake-up per batch.

    Any thread may tell; one thread takes. What was told before `take` returns is in its result, in order.
    """

    def __init__(self) -> None:
        self._events: deque[PoolEvent] = deque()
        self._wake: Callable[[], None] = _nobody
        self._woken = False  # a plain flag: in a patched process an event is no business of other threads

    def bind(self, wake: Callable[[], None]) -> None:
        """Say how to wake whoever takes. ``wake`` must be callable from any thread."""
        self._wake = wake

    def take(self) -> list[PoolEvent]:
        """Return everything told since the last call."""
        self._woken = False
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def __bool__(self) -> bool:
        return bool(self._events)

    def accepted(self, job: Job, slot: Slot) -> None:
        """See `PoolListener.accepted`."""
        self._events.append(Accepted(job, slot))
        if not self._woken:
            self._wake_up()

    def finished(self, job: Job, outcome: Outcome) -> None:
        """See `PoolListener.finished`."""
        self._events.append(Finished(job, outcome))
        if not self._woken:
            self._wake_up()

    def resized(self, size: int) -> None:
        """See `PoolListener.resized`."""
        self._tell(Resized(size=size))

    def failing(self, reason: str, exit_code: int) -> None:
        """See `PoolListener.failing`."""
        self._tell(Failing(reason=reason, exit_code=exit_code))

    def _tell(self, event: PoolEvent) -> None:
        self._events.append(event)
        if not self._woken:
            self._wake_up()

    def _wake_up(self) -> None:
        # Set before waking: a second teller may then skip the wake-up, because the first one's is still to come.
        self._woken = True
        self._wake()


def _nobody() -> None:
    """Nobody takes yet: the events wait."""
