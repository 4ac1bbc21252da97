"""What a green library must supply, and how a run is reached that goes on in a greenlet."""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from .clock import Clock
from .errors import JobKilled
from .job import Job
from .limits import Run
from .native import Native
from .outcome import Outcome
from .pool import Slot

URGENT: signal.Signals | None = getattr(signal, "SIGURG", None)
"""What interrupts a greenlet that does not yield. Its default is to be ignored."""


class Greenlet(Protocol):
    """A greenlet that was spawned."""

    gr_frame: FrameType | None
    """Where it waits; None while it runs, and once it is over."""

    def throw(self, exc: BaseException, /) -> object:
        """Switch to it by raising ``exc`` in it. Only the library's loop may."""
        ...


class Joinable(Protocol):
    """As `worker_kernel.Server`."""

    def join(self, timeout: float | None = None) -> object:
        """Wait for its end."""
        ...


class Pulse(Protocol):
    """A timer of the library that beats as long as the loop turns."""

    def start(self) -> None:
        """Begin to beat. Idempotent."""
        ...

    def stop(self) -> None:
        """Beat no more. Idempotent."""
        ...


class Green(Protocol):
    """A green library, as `GreenPool` uses it. `call_soon` may be called from any thread, all else from the loop's."""

    name: str
    """Of the library."""
    native: Native
    """Threads that the library does not run."""

    def patched(self) -> bool:
        """Whether the standard library is patched by it."""
        ...

    def spawn(self, function: Callable[..., object], *args: object) -> Joinable:
        """Call ``function(*args)`` in a greenlet of its own, at the next turn of the loop."""
        ...

    def current(self) -> Greenlet:
        """Return the greenlet that runs. Also for signal handlers."""
        ...

    def let_turn(self) -> None:
        """Let the loop turn, and what waits for that go on, before the greenlet that calls does."""
        ...

    def call_soon(self, function: Callable[[], object]) -> None:
        """Have the loop call ``function``, which must not block, at its next turn; wakes it where it sleeps."""
        ...

    def pulse(self, seconds: float, beat: Callable[[], None]) -> Pulse:
        """Return a timer that calls ``beat``, which must not block, every ``seconds`` once it is started."""
        ...

    def close(self) -> None:
        """Give up what `call_soon` needs. Idempotent."""
        ...


class GreenRun(Run):
    """A run in a greenlet.

    What is raised in it arrives when it next yields, by the loop. A task that does not yield keeps the loop from that:
    it is reached by a signal, whose handler is to call `raise_here`, and which raises only where the greenlet that it
    interrupts is the run's own.
    """

    def __init__(self, job: Job, slot: Slot, clock: Clock, green: Green) -> None:
        """Make it in the greenlet that is to run the job."""
        super().__init__(job, slot, clock, green.native.lock())  # the watchdog takes it, too
        self._green = green
        self._under_way: deque[BaseException] = deque()
        self.greenlet = green.current()
        """Where the job runs."""
        self.frame: FrameType | None = None
        """The frame of `perform`, by which the watchdog knows whose stack it looks at; None: not running."""
        self.thread = green.native.ident()

    def perform(self) -> Outcome | None:
        """See `Run.perform`."""
        self.frame = sys._getframe()  # noqa: SLF001  (documented, in spite of its name)
        try:
            return super().perform()
        finally:
            self.frame = None

    def raise_here(self) -> None:
        """Raise what was sent, if this very run was interrupted and its call goes on. For the signal's handler."""
        if self._green.current() is self.greenlet:
            exc = self._take()
            if exc is not None:
                raise exc

    def remind(self) -> bool:
        """See `Run.remind`: what the loop has not delivered by now, perhaps because it is held, a signal does."""
        with self._lock:
            if not self.undelivered:
                return False
            if URGENT is not None:
                signal.pthread_kill(self.thread, URGENT)
            return True

    def _deliver(self, exc: BaseException) -> None:
        self._under_way.append(exc)
        self._green.call_soon(self._throw)

    def _retract(self) -> None:
        self._under_way.clear()

    def _throw(self) -> None:
        exc = self._take()
        if exc is not None:
            self.greenlet.throw(exc)

    def _take(self) -> BaseException | None:
        """Return what was sent last, if it can be raised now. Takes no lock: a handler may have interrupted one."""
        last: BaseException | None = None
        while self._under_way:
            last = self._under_way.popleft()
        if last is None or not self._open:
            return None
        self._arrived(last)
        return last


def kill_reason(kill: JobKilled) -> str:
    """Say why a run was killed."""
    return "its hard limit" if kill.reason == "time_limit" else "its cancellation"
