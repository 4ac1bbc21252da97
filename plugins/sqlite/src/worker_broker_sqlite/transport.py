"""The kombu transport: when to fetch, flush, renew and sleep; the rest is `SqliteChannel` and `Queues`."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

import attrs
from kombu.transport import virtual

from worker_kernel import LeasingTransport

from .address import Address
from .channel import SqliteChannel
from .database import Database, DatabaseError, DatabaseUnavailable
from .message import name
from .queues import Queues
from .routing import Routing
from .wakeup import Waiter, disarm, open_waiter, wait

if TYPE_CHECKING:
    from .queues import Delivery

log = logging.getLogger("worker_broker_sqlite")


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


class Transport(LeasingTransport):
    """The embedded broker as a kombu transport.

    A message that is fetched is leased, not removed; it comes back when its holder dies, and each delivery has a
    token without which nothing can be done to it.  Runs on a hub (`register_with_event_loop`) or by `drain_events`;
    both renew the leases, flush what was settled, and sleep until they are woken.

    Belongs to one thread at a time and may migrate between threads; only `wake` may be called from any thread.
    Never to be used in a forked child: there it holds nothing and hands nothing back.
    """

    Channel = SqliteChannel
    log = log
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
        self._next_renewal = 0.0  # monotonic
        self._turn = 0
        self._version = 0  # of the file, where it is polled

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

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """The URL, which holds no password."""
        return uri or f"{self.client.transport_cls}:///{self.client.virtual_host}"

    def driver_version(self) -> str:
        """The version of the SQLite library."""
        import sqlite3

        return sqlite3.sqlite_version

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
            loop.call_repeatedly(self.address.lease / self.RENEWALS, self.renew),
            loop.call_repeatedly(waiter.poll_interval or self.SAFETY_NET, self._on_look),
        ]
        self.expect_more()

    def unregister_from_event_loop(self, connection: Any, loop: Any) -> None:
        """Leave `loop`; what is held stays held, and `drain_events` may take over."""
        self._leave_hub(loop)
        if self._waiter is not None:
            loop.remove_reader(self._waiter.fileno())

    def _on_readable(self) -> None:
        if self._waiter is not None:
            self._waiter.drain()
        self._more = True

    def _on_look(self) -> None:
        if self._hub is not None and (
            self._waiter is None or self._waiter.poll_interval is None or self._file_changed()
        ):
            self.expect_more()

    # -- driven by drain_events -------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Make a waiting `drain_events` (or the next one) return early.

        Callable from any thread and from signal handlers; never blocks.
        """
        self._woken = True
        self._ring()

    def _sleep(self, timeout: float | None) -> None:
        waiter = self._own_waiter()
        if self._woken:  # by a thread that came before there was a waiter
            return
        now = time.monotonic()
        limits = [self.SAFETY_NET if timeout is None else timeout, self._left_to_flush()]
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
            self.refused([delivery for delivery in settled if delivery.tag in lost], "settlement")

        with self.database.transaction() as tx:
            lost = self.queues.settle([delivery.tag for delivery in settled])
            tx.on_commit(written)

    def renew(self) -> None:
        """Renew the leases of all that is held. Those that have passed into other hands are logged, once."""
        if self._after_fork():
            return
        self._next_renewal = time.monotonic() + self.address.lease / self.RENEWALS
        for channel in self.channels:
            tokens = [token for token in channel.qos.held if token not in channel.qos.lost]
            if tokens:
                lost = self.queues.renew(tokens)
                channel.qos.lost |= lost
                self.refused([channel.qos.held[token] for token in tokens if token in lost], "renewal")

    def name(self, delivery: Delivery) -> str:
        """How the log calls a message."""
        return name(delivery)

    def release(self, channel: SqliteChannel) -> None:
        """Flush, and hand back what `channel` holds, because it closes."""
        with self.database.transaction():
            super().release(channel)

    def statistics(self) -> TransportStatistics:
        """What is in hand at this moment."""
        return TransportStatistics(
            path=self.address.path,
            **self.counts(),
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
        channels = self._hungry()
        if not (self._more and channels):
            self._settle_up()
            return
        waiter = self._own_waiter()
        if not self._holds_any():
            self._next_renewal = time.monotonic() + self.address.lease / self.RENEWALS
        batches = []
        with self.database.transaction():
            self.flush()
            for channel in channels:
                queues = channel.active_queues
                first = self._turn % len(queues)  # each queue in turn gets to be the first
                room = channel.qos.can_consume_max_estimate()
                limit = self.BATCH if room is None else min(room, self.BATCH)
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
        delay = self.SAFETY_NET if moment is None else min(self.SAFETY_NET, max(moment - time.time(), 0.0) + 0.001)
        self._look_in(delay)

    def _ring(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            waiter.wake()

    def _file_changed(self) -> bool:
        before, self._version = self._version, self.database.data_version()
        return before != self._version

    def _own_waiter(self) -> Waiter:
        self._after_fork()
        if self._waiter is None:
            self._waiter = open_waiter(self.address.path)
        return self._waiter

    def _forget_after_fork(self) -> None:
        if self._waiter is not None:
            self._waiter.close()
            self._waiter = None
