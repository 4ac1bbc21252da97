"""A part of the hub that can be dropped as one: what a connection generation registers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kombu.utils.compat import fileno

from worker_kernel import Clock, TimerHandle, Timers

from .descriptors import Watch
from .transport_hub import TickCallbacks, TransportHub

if TYPE_CHECKING:
    from .hub import KombuHub

log = logging.getLogger("worker_hub.scope")


class RecordingScope:
    """`HubScope` of a `KombuHub`. Belongs to the loop's thread.

    `drop` removes exactly what was registered through this scope. A descriptor number that was closed and given out
    anew belongs to whoever registered it last, so a stale scope cannot take down its successor. After `drop` the
    scope takes nothing any more: what an old connection registers late is ignored, with a debug line.
    """

    def __init__(self, hub: KombuHub) -> None:
        self.hub = hub
        self.scoped_timers = ScopedTimers(hub.timers, hub.clock)
        self.timers: Timers = self.scoped_timers
        self.ticks = TickCallbacks(self)
        self.transport_hub = TransportHub(self)
        self.dropped = False
        self._watches: dict[int, Watch] = {}
        self._calls: dict[SoonCall, None] = {}

    def __repr__(self) -> str:
        return f"<RecordingScope {'dropped' if self.dropped else self.leftovers()} at {id(self):#x}>"

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        """See `KombuHub.add_reader`."""
        self.watch(fd, reader=(callback, args))

    def add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        """See `KombuHub.add_writer`."""
        self.watch(fd, writer=(callback, args))

    def remove(self, fd: Any) -> None:
        """Forget ``fd``, if it is this scope's; harmless where it is unknown or closed."""
        self.hub.unwatch(self, fd)
        self._prune()

    def watch(self, fd: Any, **what: Any) -> None:
        """Set ``reader``, ``writer`` or ``bare`` of this scope's watch for ``fd``; None and 0 take it away."""
        if self.refuses("a file descriptor"):
            return
        number = fileno(fd)
        self._watches[number] = self.hub.watch(self, number, **what)

    def watches(self) -> Iterator[Watch]:
        """Yield what is watched for this scope, in the order in which it was registered."""
        self._prune()
        yield from list(self._watches.values())

    def call_soon(self, callback: Callable[..., object], *args: Any) -> SoonCall:
        """Like `KombuHub.call_soon`, on the loop's thread only; the call is not made once the scope is dropped."""
        call = SoonCall(self._calls, callback, args)
        if not self.refuses("a call"):
            self._calls[call] = None
            self.hub.call_soon(call)
        return call

    def run_ticks(self) -> None:
        """Call the tick callbacks, in the order in which they were added. What they raise leaves this."""
        for callback in list(self.ticks):
            if callback in self.ticks:
                callback()

    def drop(self) -> None:
        """Remove everything that was registered through this scope. Idempotent; never raises."""
        if self.dropped:
            return
        self.dropped = True
        self.ticks.clear()
        self.scoped_timers.drop()
        self._calls.clear()
        for watch in self._watches.values():
            self.hub.descriptors.forget(watch)
        self._watches.clear()
        self.hub.forget_scope(self)
        self.transport_hub.closed()

    def leftovers(self) -> int:
        """Return how many descriptors, ticks, timers and pending calls are registered: 0 after `drop`."""
        self._prune()
        return len(self._watches) + len(self.ticks) + len(self.scoped_timers) + len(self._calls)

    def refuses(self, what: str) -> bool:
        """Whether the scope is dropped, which is logged."""
        if self.dropped:
            log.debug("ignored %s that was registered after the scope was dropped", what)
        return self.dropped

    def _prune(self) -> None:
        """Forget what the hub has dropped by itself, or given to another owner."""
        current = self.hub.descriptors.is_current
        self._watches = {fd: watch for fd, watch in self._watches.items() if current(watch)}


class SoonCall:
    """One pending call of a scope."""

    __slots__ = ("_args", "_callback", "_pending")

    def __init__(self, pending: dict[SoonCall, None], callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._pending = pending
        self._callback = callback
        self._args = args

    def __call__(self) -> None:
        """Make the call, unless it was cancelled."""
        if self in self._pending:
            del self._pending[self]
            self._callback(*self._args)

    def cancel(self) -> None:
        """Make sure that the call does not happen any more. Idempotent; harmless after the call."""
        self._pending.pop(self, None)


class ScopedTimers:
    """`Timers` that remember what was scheduled through them. Belongs to the loop's thread.

    `fire` fires all timers of the hub: they have one order. `next_due` knows only those of the scope.
    """

    def __init__(self, timers: Timers, clock: Clock) -> None:
        self._timers = timers
        self._clock = clock
        self._pending: dict[ScopedCall, None] = {}
        self._dropped = False

    def __len__(self) -> int:
        """Return how many are pending."""
        return len(self._pending)

    def __bool__(self) -> bool:
        """Timers are true, also when nothing is pending."""
        return True

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> ScopedCall:
        """See `worker_kernel.Timers`; after the scope was dropped, the call is cancelled from the start."""
        call = ScopedCall(self._pending, callback, args)
        if not self._dropped:
            call.arm(self._timers.call_later(delay, call), self._clock, delay, None)
        return call

    def call_repeatedly(self, interval: float, callback: Callable[..., object], *args: Any) -> ScopedCall:
        """See `worker_kernel.Timers`; after the scope was dropped, the call is cancelled from the start."""
        call = ScopedCall(self._pending, callback, args)
        if not self._dropped:
            call.arm(self._timers.call_repeatedly(interval, call), self._clock, interval, interval)
        return call

    def next_due(self) -> float | None:
        """Return the seconds until the next call of this scope (>= 0), or None where nothing is pending."""
        if not self._pending:
            return None
        return max(min(call.due for call in self._pending) - self._clock.monotonic(), 0.0)

    def fire(self) -> int:
        """Run what is due, of the whole hub, and return how many calls that were."""
        return self._timers.fire()

    def clear(self) -> None:
        """Cancel everything."""
        for call in list(self._pending):
            call.cancel()

    def drop(self) -> None:
        """Cancel everything, for good."""
        self._dropped = True
        self.clear()


class ScopedCall:
    """The handle of one timer of a scope."""

    __slots__ = ("_args", "_callback", "_clock", "_handle", "_interval", "_pending", "due")

    def __init__(self, pending: dict[ScopedCall, None], callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._pending = pending
        self._callback = callback
        self._args = args
        self._handle: TimerHandle | None = None

    def arm(self, handle: TimerHandle, clock: Clock, delay: float, interval: float | None) -> None:
        """Note the timer behind this handle."""
        self._handle, self._clock, self._interval = handle, clock, interval
        self.due = clock.monotonic() + max(delay, 0.0)
        self._pending[self] = None

    def __call__(self) -> None:
        """Run the callback (called by the timer)."""
        if self._interval is None:
            self._pending.pop(self, None)
        else:
            self.due = self._clock.monotonic() + self._interval
        self._callback(*self._args)

    @property
    def canceled(self) -> bool:
        """Whether the call is not to happen any more (kombu's spelling, for its transports)."""
        return self not in self._pending

    def cancel(self) -> None:
        """Make sure that the call does not happen any more. Idempotent; harmless after the call."""
        self._pending.pop(self, None)
        if self._handle is not None:
            self._handle.cancel()
