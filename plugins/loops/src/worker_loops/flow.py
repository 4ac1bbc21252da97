"""Flow control: reserve = slot. Messages held are at most the slots plus the buffer."""

from __future__ import annotations

import enum
from typing import Any

from worker_kernel import Slots

from .buffer import Buffer

LARGEST_WINDOW = 65535
"""AMQP counts prefetched messages in 16 bits."""
EXCHANGE = 64
"""Messages at the most that are fetched, and settled, for one round trip: more would keep the loop for too long."""


class Prefetch(enum.Enum):
    """What a broker takes its window for."""

    CHANNEL = enum.auto()
    """The channel; it can be changed at any time."""
    SHARED = enum.auto()
    """The same on RabbitMQ with classic queues, where that has to be said."""
    CONSUMER = enum.auto()
    """Each consumer, once and for all: quorum queues, and RabbitMQ from 4.0 on."""


class Flow:
    """How many unsettled messages the broker may leave with us. Belongs to the loop's thread.

    A message that waits here for its time does not use up a slot, so it widens the window. A message that was
    acknowledged before its run no longer counts at the broker but does occupy a slot, so it narrows the window: early
    acknowledgement is no look-ahead.

    Where the broker has a window for each consumer (`Prefetch.CONSUMER`), it cannot follow what is held here, nor the
    pace of the tasks: it is as large as the slots, and a buffer whose size was given. Then up to one window of messages
    can wait here while early acknowledged ones run, and as many for each further queue. Consuming is not paused there,
    since a quorum queue counts as delivered what it was about to send to a consumer that leaves.
    """

    def __init__(self, slots: Slots, *, buffer: Buffer, most_held: int | None) -> None:
        self._slots = slots
        self.buffer = buffer
        """How many messages are held beyond the slots."""
        self._most_held = most_held
        self._applied: int | None = None
        self._paused = False
        self._prefetch = Prefetch.CHANNEL
        self.held = 0
        """Messages that wait here for their time."""
        self.unstored = 0
        """Messages whose task's fate could not be stored yet."""
        self.early = 0
        """Jobs in the pool whose message is acknowledged already."""

    @property
    def window(self) -> int:
        """Unsettled messages allowed now (>= 0)."""
        if self._prefetch is Prefetch.CONSUMER:
            buffer = 0 if self.buffer.adaptive else self.buffer.size
            return min(self._slots.limit + buffer, LARGEST_WINDOW)
        held = self.held + self.unstored
        if self._most_held is not None:
            held = min(held, self._most_held)
        window = self._slots.limit + self.buffer.size + held - self.early
        return window if 0 <= window <= LARGEST_WINDOW else max(0, min(window, LARGEST_WINDOW))

    @property
    def paused(self) -> bool:
        """Whether nothing is consumed, because the window is shut."""
        return self._paused

    @property
    def changed(self) -> bool:
        """Whether the broker knows of another window than there is."""
        return self._applied != self.window

    @property
    def shared(self) -> bool:
        """Whether all queues share one window, which RabbitMQ refuses for other than classic queues."""
        return self._prefetch is Prefetch.SHARED

    @property
    def crowded(self) -> bool:
        """Whether no further message can be held without using up the window of those that could run."""
        return self._most_held is not None and self.held + self.unstored >= self._most_held

    def reset(self, prefetch: Prefetch = Prefetch.CHANNEL) -> None:
        """A new connection knows nothing of the window yet, and may take it in another way."""
        self._prefetch = prefetch
        self._applied = None
        self._paused = False

    def apply(self, consumer: Any) -> None:
        """Tell the broker, if the window has changed. To the broker 0 means "no limit", so at 0 consuming pauses."""
        window = self.window
        if window == self._applied:
            return
        exchange_by = getattr(getattr(consumer, "channel", None), "exchange_by", None)
        if exchange_by is not None:  # a transport that fetches, rather than is sent to
            exchange_by(max(1, min(EXCHANGE, self.buffer.size // 2)))
        if window == 0:
            if not self._paused:
                consumer.cancel()
            self._paused = True
        else:
            anew = self._prefetch is Prefetch.CONSUMER and self._applied is not None
            if anew and not self._paused:
                consumer.cancel()
            consumer.qos(prefetch_count=window, apply_global=self._prefetch is Prefetch.SHARED)
            if self._paused or anew:
                consumer.consume()
            self._paused = False
        self._applied = window
