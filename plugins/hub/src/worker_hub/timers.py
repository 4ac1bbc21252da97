"""Calls in the future, on a heap."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
from collections.abc import Callable
from typing import Any

from worker_kernel import Clock

log = logging.getLogger("worker_hub.timers")

COMPACT_ABOVE = 64
"""Cancelled calls that may lie on the heap before it is worth being cleared of them."""


class PendingCall:
    """The handle of one call, or of one series of calls."""

    __slots__ = ("_timers", "args", "callback", "interval")

    def __init__(
        self, timers: HeapTimers, callback: Callable[..., object], args: tuple[Any, ...], interval: float | None
    ) -> None:
        self._timers = timers
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.interval = interval

    def cancel(self) -> None:
        """Make sure that the call does not happen any more. Takes constant time; idempotent; harmless afterwards."""
        if self.callback is not None:
            self.finish()
            self._timers.on_cancel()

    def finish(self) -> None:
        """Let go of the callback and of what it holds."""
        self.callback = None
        self.args = ()


class HeapTimers:
    """`Timers` on a heap. It has no thread: whoever runs the loop calls `fire`.

    Calls are made in the order of their due times, and in the order of scheduling where these are equal. A callback
    may schedule and cancel calls; what it schedules is not run by the `fire` that runs it. An exception of a callback
    is logged and the others still run; what is not an `Exception` leaves `fire`, and nothing is forgotten.

    A call that is late because the loop was busy is made once, however many intervals have passed, and the next one
    follows one interval later. May be used from the loop's thread only.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, PendingCall]] = []
        self._sequence = itertools.count()
        self._cancelled = 0  # how many on the heap are

    def __len__(self) -> int:
        """Return how many calls are pending."""
        return len(self._heap) - self._cancelled

    def __bool__(self) -> bool:
        """Timers are true, also when nothing is pending."""
        return True

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> PendingCall:
        """Call ``callback(*args)`` once, in ``delay`` seconds: at once where it is negative, never where it is inf.

        Raises:
            ValueError: ``delay`` is not a number.
        """
        if math.isnan(delay):
            raise ValueError("the delay of a timer is not a number")
        call = PendingCall(self, callback, args, None)
        self._push(self._clock.monotonic() + max(delay, 0.0), call)
        return call

    def call_repeatedly(self, interval: float, callback: Callable[..., object], *args: Any) -> PendingCall:
        """Call ``callback(*args)`` every ``interval`` seconds, for the first time after one interval.

        Raises:
            ValueError: ``interval`` is not above 0.
        """
        if not interval > 0:
            raise ValueError(f"the interval of a timer must be above 0 seconds, not {interval!r}")
        call = PendingCall(self, callback, args, interval)
        self._push(self._clock.monotonic() + interval, call)
        return call

    def next_due(self) -> float | None:
        """Return the seconds until the next call (>= 0), or None where nothing is pending."""
        self._drop_cancelled_top()
        if not self._heap:
            return None
        return max(self._heap[0][0] - self._clock.monotonic(), 0.0)

    def fire(self) -> int:
        """Make the calls that are due and return how many they were."""
        self._drop_cancelled_top()
        if not self._heap:
            return 0
        now = self._clock.monotonic()
        first_new = next(self._sequence)
        fired = 0
        while self._heap:
            due, sequence, call = self._heap[0]
            # What was scheduled meanwhile is not due before now, so nothing older can lie behind it.
            if due > now or sequence > first_new:
                break
            heapq.heappop(self._heap)
            if call.callback is None:
                self._cancelled -= 1
                continue
            fired += 1
            self._run(due, call)
        return fired

    def on_cancel(self) -> None:
        """Note that a pending call was cancelled (called by its handle)."""
        self._cancelled += 1
        if self._cancelled > COMPACT_ABOVE and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def _run(self, due: float, call: PendingCall) -> None:
        callback, args, interval = call.callback, call.args, call.interval
        assert callback is not None  # noqa: S101  (the caller has looked)
        if interval is None:
            call.finish()  # so that a late cancel changes no count
        else:
            # Back on the heap first: the callback may cancel itself, and must find itself there.
            now = self._clock.monotonic()
            self._push(due + interval if due + interval > now else now + interval, call)
        try:
            callback(*args)
        except Exception:
            log.exception("timer callback %r raised", callback)

    def _push(self, due: float, call: PendingCall) -> None:
        heapq.heappush(self._heap, (due, next(self._sequence), call))

    def _drop_cancelled_top(self) -> None:
        while self._heap and self._heap[0][2].callback is None:
            heapq.heappop(self._heap)
            self._cancelled -= 1
