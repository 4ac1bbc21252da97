"""The turns of a transport that leases: deliver what was fetched, flush what was settled, sleep until woken."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any

from kombu.transport import virtual

from .channel import Delivery


class LeasingTransport(virtual.Transport, ABC):  # type: ignore[misc]  # kombu is untyped
    """A kombu transport whose messages are leased. Its channels are `LeasingChannel`.

    Runs on a hub (``register_with_event_loop``) or by `drain_events`; both renew, flush what was settled, and sleep
    until they are woken. A transport of this kind brings what is abstract here.

    Belongs to one thread at a time and may migrate between threads; only `wake` may be called from any thread.
    Never to be used in a forked child: there it holds nothing and hands nothing back.
    """

    BATCH = 128
    """At most so many messages per fetch."""
    SAFETY_NET = 5.0
    """Seconds after which a sleeping consumer looks anyway: whoever should have woken it may have died before."""
    TOGETHER = 0.01
    """Seconds for which what was settled may wait for more, on channels that exchange several messages at a time."""
    RENEWALS = 3
    """Renewals per lease."""
    log = logging.getLogger("worker_kernel.leasing")
    """The transport's own."""
    address: Any
    """Where it is and how it is used; ``lease`` is in seconds."""
    can_parse_url = True  # kombu's own parser takes no options in the query

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self._settled: list[Any] = []
        self._worth_a_flush = 1  # as it was when the first of these was settled
        self._flush_by = 0.0  # monotonic; when what was settled is flushed at the latest
        self._inbox: deque[tuple[Any, Any]] = deque()
        self._more = True  # whether a fetch might bring something
        self._next_look = 0.0  # monotonic; when to look again although nobody woke us
        self._woken = False
        self._hub: Any = None
        self._timers: list[Any] = []
        self._due_timer: Any = None
        self._flush_timer: Any = None
        self._pid = os.getpid()

    @abstractmethod
    def name(self, delivery: Any) -> str:
        """How the log calls a message."""

    @abstractmethod
    def flush(self) -> None:
        """Make settlements take effect now, in one step. A late one is refused with a warning."""

    @abstractmethod
    def _take_turn(self) -> bool:
        """Renew, flush, fetch and deliver what there is; whether anything was delivered."""

    @abstractmethod
    def _sleep(self, timeout: float | None) -> None:
        """Wait until there may be something to do, at most `timeout` seconds."""

    @abstractmethod
    def _ring(self) -> None:
        """End a wait, by a descriptor that can be read."""

    @abstractmethod
    def _forget_after_fork(self) -> None:
        """Give up descriptors that are the parent's."""

    def verify_connection(self, connection: Any) -> bool:
        """Whether the connection is of use to this process."""
        return self._pid == os.getpid()

    @property
    def default_connection_params(self) -> dict[str, object]:
        """None: the URL says it all."""
        return {}

    # -- driven by a hub --------------------------------------------------------------------------------------------

    def _on_tick(self) -> None:
        if self._hub is None:
            return
        self._take_turn()
        self._settle_up()  # what was settled during the delivery must not wait for the next event
        if self._inbox or (self._more and self._room()):
            self._nudge()

    def _nudge(self) -> None:
        """Make sure that a tick comes before the hub waits next: ours is asked for one, kombu's is woken."""
        if self._hub is None:
            return  # `drain_events` looks at everything before it sleeps
        ensure_tick = getattr(self._hub, "ensure_tick", None)
        if ensure_tick is None:
            self._ring()
        else:
            ensure_tick()

    def _leave_hub(self, loop: Any) -> None:
        self._hub = None
        loop.on_tick.discard(self._on_tick)
        for timer in (*self._timers, self._due_timer, self._flush_timer):
            if timer is not None:
                timer.cancel()
        self._timers, self._due_timer, self._flush_timer = [], None, None

    def _look_in(self, delay: float) -> None:
        """Look again after `delay` seconds although nobody woke us."""
        self._next_look = time.monotonic() + delay
        if self._hub is not None:
            if self._due_timer is not None:
                self._due_timer.cancel()
                self._due_timer = None
            if delay < self.SAFETY_NET:
                self._due_timer = self._hub.call_later(delay, self._nudge)

    # -- driven by drain_events -------------------------------------------------------------------------------------

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> None:
        """Deliver at least one message, waiting up to `timeout` seconds for it (None: for ever, 0: not at all).

        Renews the lease and flushes what was settled before it waits and while it does, also without any consumer.

        Raises:
            socket.timeout: none came in time, or `wake` was called.
            Exception: one of ``connection_errors``: the connection is lost.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._take_turn():
            if self._woken:
                self._woken = False
                raise socket.timeout("woken")  # noqa: UP041  # kombu's word
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise socket.timeout("timed out")  # noqa: UP041  # kombu's word
            self._sleep(left)

    # -- one turn ---------------------------------------------------------------------------------------------------

    def expect_more(self) -> None:
        """Note that a fetch might bring something."""
        self._more = True
        self._nudge()

    def settle_later(self, delivery: Delivery) -> None:
        """Have the next `flush` remove a message for good."""
        self._settled.append(delivery)
        if len(self._settled) == 1:
            self._worth_a_flush = min(self._patience(), self.BATCH)
            if self._worth_a_flush > 1:
                self._flush_by = time.monotonic() + self.TOGETHER
                if self._hub is not None:
                    self._flush_timer = self._hub.call_later(self.TOGETHER, self._nudge)
        if len(self._settled) == self._worth_a_flush:
            self._nudge()  # the hub may be past this tick's flush

    def _settle_up(self) -> None:
        """Flush, unless what was settled may wait for more."""
        if self._settled and (len(self._settled) >= min(self._patience(), self.BATCH) or self._left_to_flush() <= 0):
            self.flush()

    def _left_to_flush(self) -> float:
        """Seconds until what was settled has to be flushed; inf: there is nothing."""
        return self._flush_by - time.monotonic() if self._settled else math.inf

    def _patience(self) -> int:
        return max((channel.qos.patience for channel in self.channels), default=1)

    def refused(self, deliveries: Sequence[Delivery], what: str) -> None:
        """Log that something came too late."""
        for delivery in deliveries:
            self.log.warning(
                "refused a late %s of message %s of queue %s: its lease of %g s had run out, and it is in other hands",
                what,
                self.name(delivery),
                delivery.queue,
                self.address.lease,
            )

    def release(self, channel: Any) -> None:
        """Flush, and hand back what `channel` holds, because it closes."""
        self._inbox = deque(item for item in self._inbox if item[0] is not channel)
        if self._after_fork():
            return
        self.flush()
        channel.qos.restore_unacked_once()

    def counts(self) -> dict[str, int]:
        """Return how many messages are held, of these lost and undelivered, and how many settlements wait."""
        return {
            "held": sum(len(channel.qos.held) for channel in self.channels),
            "lost": sum(len(channel.qos.lost) for channel in self.channels),
            "undelivered": len(self._inbox),
            "unflushed": len(self._settled),
        }

    def _deliver_inbox(self) -> bool:
        delivered = False
        while self._inbox:
            channel, delivery = self._inbox.popleft()
            qos = channel.qos
            if qos.surplus and not qos.has_place():
                self._send_back(channel, delivery)
                continue
            if qos.lost and delivery.tag in qos.lost:
                qos.drop(delivery.tag)
                continue
            callback = channel.callbacks.get(delivery.queue)
            if callback is None:
                channel.hand_back([delivery.tag])  # cancelled between fetch and delivery
                continue
            message = channel.receive(delivery)
            if message is not None:
                delivered = True
                callback(message)
        return delivered

    def _send_back(self, channel: Any, first: Delivery) -> None:
        """Let others have what was fetched from `first` on, because this channel may hold no more."""
        rest = [first, *(delivery for other, delivery in self._inbox if other is channel)]
        self._inbox = deque(item for item in self._inbox if item[0] is not channel)
        channel.qos.fetched(0)
        channel.hand_back([delivery.tag for delivery in rest])

    def _hungry(self) -> list[Any]:
        """The channels that consume and have room."""
        return [channel for channel in self.channels if channel.active_queues and channel.qos.is_hungry()]

    def _room(self) -> bool:
        return bool(self._hungry())

    def _holds_any(self) -> bool:
        return any(channel.qos.held for channel in self.channels)

    def _after_fork(self) -> bool:
        """Forget, in a forked child, what is the parent's; whether this is one that had something to forget."""
        if self._pid == os.getpid():
            return False
        self._pid = os.getpid()
        self._settled.clear()
        self._inbox.clear()
        for channel in self.channels:
            channel.qos.held.clear()
            channel.qos.lost.clear()
        self._forget_after_fork()
        self._more = True
        return True
