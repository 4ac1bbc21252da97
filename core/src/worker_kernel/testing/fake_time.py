"""Time that a test moves by hand."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any

import attrs

logger = logging.getLogger(__name__)


class FakeClock:
    """A clock that stands still until `advance` moves it; a sleep moves it too. Safe to use from any thread."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self._lock = threading.Lock()
        self._now = 0.0
        self._epoch = wall
        self.slept: list[float] = []
        """Seconds of each sleep so far."""

    def monotonic(self) -> float:
        """Return the seconds since this clock was made."""
        with self._lock:
            return self._now

    def wall(self) -> float:
        """Return the time since the Unix epoch."""
        with self._lock:
            return self._epoch + self._now

    def sleep(self, seconds: float) -> None:
        """Move the clock by ``seconds`` (>= 0) and return at once."""
        self.advance(seconds)
        self.slept.append(seconds)

    def advance(self, seconds: float) -> None:
        """Move the clock forward by ``seconds`` (>= 0)."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back: {seconds}")
        with self._lock:
            self._now += seconds

    def set_wall(self, wall: float) -> None:
        """Let the wall clock jump to ``wall``; the monotonic one stays."""
        with self._lock:
            self._epoch = wall - self._now


@attrs.define(eq=False)
class _Call:
    due: float
    callback: Callable[..., object]
    args: tuple[Any, ...]
    interval: float | None = None
    cancelled: bool = False

    def cancel(self) -> None:
        """See `worker_kernel.TimerHandle.cancel`."""
        self.cancelled = True


class FakeTimers:
    """`worker_kernel.Timers` on a `FakeClock`: nothing happens before `fire`. For one thread only."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self._count = itertools.count()
        self._calls: list[tuple[float, int, _Call]] = []

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> _Call:
        """Call ``callback(*args)`` once, in ``delay`` seconds (>= 0)."""
        if delay < 0:
            raise ValueError(f"delay must be >= 0, not {delay}")
        return self._push(_Call(self.clock.monotonic() + delay, callback, args))

    def call_repeatedly(self, interval: float, callback: Callable[..., object], *args: Any) -> _Call:
        """Call ``callback(*args)`` every ``interval`` seconds (> 0), for the first time after one interval."""
        if interval <= 0:
            raise ValueError(f"interval must be > 0, not {interval}")
        return self._push(_Call(self.clock.monotonic() + interval, callback, args, interval))

    def next_due(self) -> float | None:
        """Return the seconds until the next call (>= 0), or None where nothing is pending."""
        while self._calls and self._calls[0][2].cancelled:
            heapq.heappop(self._calls)
        return max(0.0, self._calls[0][0] - self.clock.monotonic()) if self._calls else None

    def fire(self) -> int:
        """Run what is due, in the order of due times, and return how many calls that were."""
        fired = 0
        now = self.clock.monotonic()
        while self._calls and self._calls[0][0] <= now:
            call = heapq.heappop(self._calls)[2]
            if call.cancelled:
                continue
            if call.interval is not None:
                call.due += call.interval
                self._push(call)
            fired += 1
            try:
                call.callback(*call.args)
            except Exception:
                logger.exception("timer %r raised", call.callback)
        return fired

    def advance(self, seconds: float) -> int:
        """Move the clock by ``seconds``, stopping at each due time on the way, and return how many calls were made."""
        fired, end = 0, self.clock.monotonic() + seconds
        while (due := self.next_due()) is not None and self.clock.monotonic() + due <= end:
            self.clock.advance(due)
            fired += self.fire()
        self.clock.advance(end - self.clock.monotonic())
        return fired

    def _push(self, call: _Call) -> _Call:
        heapq.heappush(self._calls, (call.due, next(self._count), call))
        return call
