"""The kombu transport: when to fetch, flush, renew and sleep; the rest is `SqliteChannel` and `Queues`."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import attrs
from kombu.transport import virtual

from .address import Address
from .channel import SqliteChannel
from .database import Database, DatabaseError, DatabaseUnavailable
from .message import name
from .queues import Queues
from .routing import Routing
from .wakeup import Waiter, disarm, open_waiter, wait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .queues import Delivery

log = logging.getLogger("worker_broker_sqlite")

BATCH = 100
"""At most so many messages per fetch."""
SAFETY_NET = 5.0
"""Seconds after which a sleeping consumer looks anyway: a sender may be killed between its commit and its wake-up."""
RENEWALS = 3
"""Renewals per lease."""


@attrs.frozen(kw_only=True)
class TransportStatistics:
    """What a transport has in hand."""

    path: str
    """The database file."""
    held: int
    """Messages fetched and not settled yet."""
    lost: int
    """Those of `held` that are known to have passed into other hands."""
    undelivered: int
    """Those of `held` that no callback has seen yet."""
    unflushed: int
    """Messages settled and not written yet."""


class Transport(virtual.Transport):  # type: ignore[misc]  # kombu is untyped
    """The embedded broker as a kombu transport.

    A message that is fetched is leased, not removed; it comes back when its holder dies, and each delivery has a
    token without which nothing can be done to it.  Runs on a hub (`register_with_event_loop`) or by `drain_events`;
    both renew the leases, flush what was settled, and sleep until they are woken.

    Belongs to one thread at a time and may migrate between threads; only `wake` may be called from any thread.
    Never to be used in a forked child: there it holds nothing and hands nothing back.
    """

    Channel = SqliteChannel
    can_parse_url = True  # kombu's own parser takes no options in the query
    default_port = None
    driver_type = "sqlite"
    driver_name = "sqlite"
    connection_errors = (*virtual.Transport.connection_errors, DatabaseError)
    recoverable_connection_errors = (*virtual.Transport.connection_errors, DatabaseUnavailable)
    channel_errors = virtual.Transport.channel_errors
    recoverable_channel_errors = ()
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset(["direct", "topic"]), heartbeats=False
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        """Remember the URL of `client`; nothing is opened.

        Raises:
            InvalidUrl: see `Address.from_url`.
        """
        super().__init__(client, **kwargs)
        self.address = Address.from_url(client.hostname or client.virtual_host, client.transport_options)
        """The file and the options."""
        self.database = Database(self.address.path, busy_timeout=self.address.busy_timeout)
        self.queues = Queues(self.database, lease=self.address.lease)
        self.routing = Routing(self.database)
        self._waiter: Waiter | None = None
        self._settled: list[Delivery] = []
        self._inbox: deque[tuple[SqliteChannel, Delivery]] = deque()
        self._more = True  # whether a fetch might bring something
        self._next_look = 0.0  # monotonic; when to look again although nobody woke us
        self._next_renewal = 0.0  # monotonic
        self._turn = 0
        self._woken = False
        self._version = 0  # of the file, where it is polled
        self._hub: Any = None
        self._timers: list[Any] = []
        self._due_timer: Any = None
        self._pid = os.getpid()

    # -- connection -------------------------------------------------------------------------------------------------

    def establish_connection(self) -> Transport:
        """Open the file.

        Raises:
            DatabaseUnavailable: it cannot be opened at the moment.
            DatabaseRefused: it is not ours, or of a newer version.
        """
        self._after_fork()
        self.database.connection  # noqa: B018  # opens it
        super().establish_connection()
        return self

    def close_connection(self, connection: Any) -> None:
        """Flush what was settled, hand back what was not, and close the file. Idempotent."""
        try:
            super().close_connection(connection)
            self.flush()
            if self._waiter is not None and self._waiter.name is not None and self._pid == os.getpid():
                with self.database.transaction() as tx:
                    disarm(tx, self._waiter.name)
        finally:
            if self._waiter is not None:
                self._waiter.close()
                self._waiter = None
            self._hub = None
            self.database.close()

    def verify_connection(self, connection: Any) -> bool:
        """Whether the connection is of use to this process."""
        return self._pid == os.getpid()

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """The URL, which holds no password."""
        return uri or f"{self.client.transport_cls}:///{self.client.virtual_host}"

    def driver_version(self) -> str:
        """The version of the SQLite library."""
        import sqlite3

        return sqlite3.sqlite_version

    @property
    def default_connection_params(self) -> dict[str, object]:
        """None: a file has neither host nor port."""
        return {}

    # -- driven by a hub --------------------------------------------------------------------------------------------

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Run on `loop`: deliver, flush and renew on its ticks, on timers, and when another process wakes us.

        Uses `add_reader`, `remove_reader`, `on_tick`, `call_later` and `call_repeatedly` of the loop. Whoever gave
        the loop may drop all of it; what fires nevertheless after `close_connection` does nothing.
        """
        self._hub = loop
        waiter = self._own_waiter()
        loop.add_reader(waiter.fileno(), self._on_readable)
        loop.on_tick.add(self._on_tick)
        self._timers = [
            loop.call_repeatedly(self.address.lease / RENEWALS, self.renew),
            loop.call_repeatedly(waiter.poll_interval or SAFETY_NET, self._on_look),
        ]
        self.expect_more()

    def unregister_from_event_loop(self, connection: Any, loop: Any) -> None:
        """Leave `loop`; what is held stays held, and `drain_events` may take over."""
        self._hub = None
        if self._waiter is not None:
            loop.remove_reader(self._waiter.fileno())
        loop.on_tick.discard(self._on_tick)
        for timer in (*self._timers, self._due_timer):
            if timer is not None:
                timer.cancel()
        self._timers, self._due_timer = [], None

    def _on_readable(self) -> None:
        if self._waiter is not None:
            self._waiter.drain()
        self._more = True

    def _on_tick(self) -> None:
        if self._hub is None:
            return
        self._take_turn()
        self.flush()  # what was settled during the delivery must not wait for the next event
        if self._inbox or (self._more and self._room()):
            self._nudge()

    def _on_look(self) -> None:
        if self._hub is not None and (
            self._waiter is None or self._waiter.poll_interval is None or self._file_changed()
        ):
            self.expect_more()

    # -- driven by drain_events -------------------------------------------------------------------------------------

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> None:
        """Deliver at least one message, waiting up to `timeout` seconds for it (None: for ever, 0: not at all).

        Renews leases and flushes what was settled before it waits and while it does, also without any consumer.

        Raises:
            socket.timeout: none came in time, or `wake` was called.
            DatabaseError: the file does not serve any more.
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

    def wake(self) -> None:
        """Make a waiting `drain_events` (or the next one) return early.

        Callable from any thread and from signal handlers; never blocks.
        """
        self._woken = True
        if self._waiter is not None:
            self._waiter.wake()

    def _sleep(self, timeout: float | None) -> None:
        waiter = self._own_waiter()
        if self._woken:  # by a thread that came before there was a waiter
            return
        now = time.monotonic()
        limits = [SAFETY_NET if timeout is None else timeout]
        if self._room():
            limits.append(0.0 if self._more else self._next_look - now)
        if self._holds_any():
            limits.append(self._next_renewal - now)
        if waiter.poll_interval is not None:
            limits.append(waiter.poll_interval)
        if wait(waiter, max(min(limits), 0.0)):
            self._on_readable()
        elif waiter.poll_interval is not None and self._file_changed():
            self._more = True

    # -- one turn ---------------------------------------------------------------------------------------------------

    def expect_more(self) -> None:
        """Note that a fetch might bring something."""
        self._more = True
        self._nudge()

    def changed(self) -> None:
        """Note that this connection itself has made messages ready: no poll of the file shows that."""
        if self._waiter is not None and self._waiter.poll_interval is not None:
            self._more = True

    def flush(self) -> None:
        """Write what was settled to the file, in one transaction. A late settlement is refused with a warning."""
        if not self._settled or self._after_fork():
            return
        settled = list(self._settled)

        def written() -> None:
            del self._settled[: len(settled)]
            self.refused([delivery for delivery in settled if delivery.token in lost], "settlement")

        with self.database.transaction() as tx:
            lost = self.queues.settle([delivery.token for delivery in settled])
            tx.on_commit(written)

    def renew(self) -> None:
        """Renew the leases of all that is held. Those that have passed into other hands are logged, once."""
        if self._after_fork():
            return
        self._next_renewal = time.monotonic() + self.address.lease / RENEWALS
        for channel in self.channels:
            tokens = [token for token in channel.qos.held if token not in channel.qos.lost]
            if tokens:
                lost = self.queues.renew(tokens)
                channel.qos.lost |= lost
                self.refused([channel.qos.held[token] for token in tokens if token in lost], "renewal")

    def settle_later(self, delivery: Delivery) -> None:
        """Have the next `flush` remove a message for good."""
        self._settled.append(delivery)
        if len(self._settled) == 1:
            self._nudge()  # the hub may be past this tick's flush

    def refused(self, deliveries: Sequence[Delivery], what: str) -> None:
        """Log that something came too late."""
        for delivery in deliveries:
            log.warning(
                "refused a late %s of message %s of queue %s: its lease of %g s had run out, and it is in other hands",
                what,
                name(delivery),
                delivery.queue,
                self.address.lease,
            )

    def release(self, channel: SqliteChannel) -> None:
        """Flush, and hand back what `channel` holds, because it closes."""
        self._inbox = deque(item for item in self._inbox if item[0] is not channel)
        if self._after_fork():
            return
        with self.database.transaction():
            self.flush()
            channel.qos.restore_unacked_once()

    def statistics(self) -> TransportStatistics:
        """What is in hand at this moment."""
        return TransportStatistics(
            path=self.address.path,
            held=sum(len(channel.qos.held) for channel in self.channels),
            lost=sum(len(channel.qos.lost) for channel in self.channels),
            undelivered=len(self._inbox),
            unflushed=len(self._settled),
        )

    def _take_turn(self) -> bool:
        """Renew, flush, fetch and deliver what there is; whether anything was delivered."""
        self._after_fork()
        if self._holds_any() and time.monotonic() >= self._next_renewal:
            self.renew()
        if not self._inbox:
            self._exchange()
        return self._deliver_inbox()

    def _exchange(self) -> None:
        """Flush and fetch, in one transaction where both have something to do."""
        if time.monotonic() >= self._next_look:
            self._more = True
        channels = [channel for channel in self.channels if channel.active_queues and channel.qos.can_consume()]
        if not (self._more and channels):
            self.flush()
            return
        waiter = self._own_waiter()
        if not self._holds_any():
            self._next_renewal = time.monotonic() + self.address.lease / RENEWALS
        batches = []
        with self.database.transaction():
            self.flush()
            for channel in channels:
                queues = channel.active_queues
                first = self._turn % len(queues)  # each queue in turn gets to be the first
                room = channel.qos.can_consume_max_estimate()
                limit = BATCH if room is None else min(room, BATCH)
                batch = self.queues.fetch(queues[first:] + queues[:first], limit, waiter=waiter.name)
                batches.append((channel, batch))
        self._turn += 1
        for channel, batch in batches:
            channel.hold(batch.deliveries)
            self._inbox.extend((channel, delivery) for delivery in batch.deliveries)
        self._more = any(batch.more for _, batch in batches)
        self.flush()  # what needs no acknowledgement is gone before it is delivered
        self._look_again(min((b.next_due for _, b in batches if b.next_due is not None), default=None))

    def _look_again(self, moment: float | None) -> None:
        delay = SAFETY_NET if moment is None else min(SAFETY_NET, max(moment - time.time(), 0.0) + 0.001)
        self._next_look = time.monotonic() + delay
        if self._hub is not None:
            if self._due_timer is not None:
                self._due_timer.cancel()
                self._due_timer = None
            if delay < SAFETY_NET:
                self._due_timer = self._hub.call_later(delay, self.expect_more)

    def _deliver_inbox(self) -> bool:
        delivered = False
        while self._inbox:
            channel, delivery = self._inbox.popleft()
            if delivery.token in channel.qos.lost:
                channel.qos.drop(delivery.token)
                continue
            callback = channel.callbacks.get(delivery.queue)
            if callback is None:
                channel.hand_back([delivery.token])  # cancelled between fetch and delivery
                continue
            message = channel.receive(delivery)
            if message is not None:
                delivered = True
                callback(message)
        return delivered

    def _room(self) -> bool:
        return any(channel.active_queues and channel.qos.can_consume() for channel in self.channels)

    def _holds_any(self) -> bool:
        return any(channel.qos.held for channel in self.channels)

    def _nudge(self) -> None:
        if self._hub is not None and self._waiter is not None:
            self._waiter.wake()

    def _file_changed(self) -> bool:
        before, self._version = self._version, self.database.data_version()
        return before != self._version

    def _own_waiter(self) -> Waiter:
        self._after_fork()
        if self._waiter is None:
            self._waiter = open_waiter(self.address.path)
        return self._waiter

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
        if self._waiter is not None:
            self._waiter.close()
            self._waiter = None
        self._more = True
        return True
