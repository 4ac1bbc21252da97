"""Flow control: reserve = slot. Messages held are at most the slots plus an explicit buffer."""

from __future__ import annotations

from typing import Any

from worker_kernel import Slots

LARGEST_WINDOW = 65535
"""AMQP counts prefetched messages in 16 bits."""


class Flow:
    """How many unsettled messages the broker may leave with us. Belongs to the loop's thread.

    A message that waits here for its time does not use up a slot, so it widens the window. A message that was
    acknowledged before its run no longer counts at the broker but does occupy a slot, so it narrows the window: early
    acknowledgement is no look-ahead.
    """

    def __init__(self, slots: Slots, *, buffer: int, most_held: int | None) -> None:
        self._slots = slots
        self._buffer = buffer
        self._most_held = most_held
        self._applied: int | None = None
        self._paused = False
        self.held = 0
        """Messages that wait here for their time."""
        self.early = 0
        """Jobs in the pool whose message is acknowledged already."""

    @property
    def window(self) -> int:
        """Unsettled messages allowed now (>= 0)."""
        held = self.held if self._most_held is None else min(self.held, self._most_held)
        return max(0, min(self._slots.limit + self._buffer + held - self.early, LARGEST_WINDOW))

    @property
    def paused(self) -> bool:
        """Whether nothing is consumed, because the window is shut."""
        return self._paused

    @property
    def changed(self) -> bool:
        """Whether the broker knows of another window than there is."""
        return self._applied != self.window

    def reset(self) -> None:
        """A new connection knows nothing of the window yet."""
        self._applied = None
        self._paused = False

    def apply(self, consumer: Any) -> None:
        """Tell the broker, if the window has changed. To the broker 0 means "no limit", so at 0 consuming pauses."""
        window = self.window
        if window == self._applied:
            return
        if window == 0:
            if not self._paused:
                consumer.cancel()
            self._paused = True
        else:
            consumer.qos(prefetch_count=window)
            if self._paused:
                consumer.consume()
            self._paused = False
        self._applied = window
