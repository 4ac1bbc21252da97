"""The contracts of the event loop's machinery: timers and the hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class TimerHandle(Protocol):
    """One pending call."""

    def cancel(self) -> None:
        """Make sure that the call does not happen any more. Idempotent; harmless after the call."""
        ...


class Timers(Protocol):
    """Calls in the future. Callbacks always run on the loop's thread, in the order of their due times.

    Methods may be called from the loop's thread only.
    """

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> TimerHandle:
        """Call ``callback(*args)`` once, in ``delay`` seconds (>= 0)."""
        ...

    def call_repeatedly(self, interval: float, callback: Callable[..., object], *args: Any) -> TimerHandle:
        """Call ``callback(*args)`` every ``interval`` seconds (> 0), for the first time after one interval."""
        ...

    def next_due(self) -> float | None:
        """Return the seconds until the next call (>= 0), or None where nothing is pending."""
        ...

    def fire(self) -> int:
        """Run what is due and return how many calls that were. A callback that raises is logged, the others run."""
        ...


class HubScope(Protocol):
    """A part of the hub that remembers what was registered through it, so that it can be dropped as one.

    A connection generation owns one: whatever it, or the transport behind it, registered is gone after `drop`.
    """

    timers: Timers
    """Timers of this scope."""
    transport_hub: Any
    """What kombu transports are given in place of kombu's own Hub: same methods, recorded in this scope."""

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        """See `Hub.add_reader`."""
        ...

    def add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        """See `Hub.add_writer`."""
        ...

    def remove(self, fd: int) -> None:
        """See `Hub.remove`."""
        ...

    def drop(self) -> None:
        """Remove all file descriptors, tick callbacks and timers of this scope. Idempotent; never raises."""
        ...

    def leftovers(self) -> int:
        """Return how many registrations this scope still has: 0 after `drop`."""
        ...


class Hub(Protocol):
    """The event loop: file descriptors, timers, and calls from other threads.

    Everything runs on the thread that calls `run_once`; only `call_soon` and `wake` may be called from others.
    """

    timers: Timers
    """Timers that live as long as the hub."""

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback(*args)`` whenever ``fd`` can be read. One callback per fd; a second replaces the first."""
        ...

    def add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback(*args)`` whenever ``fd`` can be written."""
        ...

    def remove(self, fd: int) -> None:
        """Forget ``fd``; harmless where it is unknown."""
        ...

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback(*args)`` on the loop's thread, in the order of these calls. Callable from any thread.

        However many calls are pending, the loop is woken once.
        """
        ...

    def wake(self) -> None:
        """Make `run_once` return soon. Callable from any thread and from signal handlers."""
        ...

    def scope(self) -> HubScope:
        """Return a new, empty scope."""
        ...

    def run_once(self, timeout: float | None = None) -> None:
        """Run what is ready: pending calls, due timers, ready file descriptors; block until there is something.

        Args:
            timeout: seconds to block at the most (>= 0); None: until the next timer.
        """
        ...

    def close(self) -> None:
        """Release the poller and the wake-up pipe; pending calls are run first. Idempotent."""
        ...
