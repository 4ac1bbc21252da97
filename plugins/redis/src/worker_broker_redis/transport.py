"""The kombu transport: its connection, the descriptors by which it is woken, and its place on a hub."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import attrs
import redis
from kombu.transport import virtual

from .channel import Poller, RedisChannel
from .connections import LOST, disconnect
from .exchange import ExchangingTransport, log
from .sending import Sender
from .waker import Waker, wait

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen(kw_only=True)
class TransportStatistics:
    """What a transport has in hand."""

    server: str
    """The database, without secrets."""
    held: int
    """Messages fetched and not settled yet."""
    lost: int
    """Those of `held` that are known to have passed into other hands."""
    undelivered: int
    """Those of `held` that no callback has seen yet."""
    unflushed: int
    """Messages settled and not written yet."""


class Transport(ExchangingTransport):
    """Redis as a kombu transport, on kombu's keys.

    A message is taken and recorded as held in one step on the server.  What is held is a lease with an owner: this
    connection.  It is renewed as long as the connection lives; of a dead one, any other returns what it held.  Runs on
    a hub (`register_with_event_loop`) or by `drain_events`; both renew, flush what was settled, and sleep until they
    are woken.

    Belongs to one thread at a time and may migrate between threads; only `wake` may be called from any thread.
    Never to be used in a forked child: there it holds nothing and hands nothing back.
    """

    Channel = RedisChannel
    log = log
    default_port = 6379
    driver_type = "redis"
    driver_name = "redis"
    brpop_timeout = 1  # kombu's channel asks for it; it is not used
    connection_errors = (*virtual.Transport.connection_errors, *LOST)
    recoverable_connection_errors = connection_errors
    channel_errors = (
        *virtual.Transport.channel_errors,
        redis.exceptions.DataError,
        redis.exceptions.InvalidResponse,
        redis.exceptions.ResponseError,
    )
    recoverable_channel_errors = channel_errors
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset(["direct", "topic", "fanout"]), heartbeats=False
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        """Remember the URL of `client`; nothing is connected.

        Raises:
            InvalidUrl: see `Address.from_url`.
        """
        super().__init__(client, **kwargs)
        self.cycle = Poller()
        self._sender = Sender(self.pool)
        self._waker: Waker | None = None
        self._watched: dict[int, Any] = {}

    # -- connection -------------------------------------------------------------------------------------------------

    def establish_connection(self) -> Transport:
        """Connect.

        Raises:
            redis.ConnectionError: the server cannot be reached, or does not let us in.
        """
        self._after_fork()
        super().establish_connection()
        return self

    def close_connection(self, connection: Any) -> None:
        """Flush what was settled, hand back what was not, and disconnect. Idempotent."""
        try:
            for channel in [*self._avail_channels, *self.channels]:
                channel.close()
            if self._link is not None and self._queues is not None and not self._after_fork():
                self.flush()
                self._queues.leave(self._link)
        finally:
            self._disconnect()

    def _collect(self, connection: Any) -> None:
        """Drop a lost connection without a word to the server; what it held comes back when its lease has run out."""
        for channel in [*self._avail_channels, *self.channels]:
            channel.drop()
        self._settled.clear()
        self._parked.clear()
        self._disconnect()

    def _disconnect(self) -> None:
        self._hub = None
        self._inbox.clear()
        self._avail_channels.clear()
        if self._link is not None:
            self._link.close()
        if self._waker is not None:
            self._waker.close()
        self._sender.close()
        self._link = self._waker = self._asked = None
        disconnect(self.pool)

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """The URL, without its password unless that is wanted."""
        return uri if include_password else re.sub(r"(://[^/@:]*:)[^/@]*@", rf"\g<1>{mask}@", uri)

    def driver_version(self) -> str:
        """The version of redis-py."""
        return str(redis.__version__)

    def push(self, key: str, raw: str) -> None:
        """Put an envelope into a list; see `Sender.push`."""
        self._after_fork()
        self._sender.push(key, raw)

    def statistics(self) -> TransportStatistics:
        """What is in hand at this moment."""
        return TransportStatistics(
            server=self.address.authority,
            **self.counts(),
        )

    def _forget_after_fork(self) -> None:
        self._parked.clear()
        for thing in (self._link, self._waker, self._sender):
            if thing is not None:
                thing.close()
        self._link = self._waker = self._queues = self._asked = None

    # -- driven by a hub --------------------------------------------------------------------------------------------

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Run on `loop`: deliver, flush and renew on its ticks, on timers, and when the server wakes us.

        Uses `add_reader`, `remove_reader`, `on_tick`, `call_later` and `call_repeatedly` of the loop. Whoever gave
        the loop may drop all of it; what fires nevertheless after `close_connection` does nothing.
        """
        self._hub = loop
        loop.on_tick.add(self._on_tick)
        # A timer ends the loop's wait; what is to be done then is done in the tick, where errors belong to us.
        self._timers = [
            loop.call_repeatedly(self.address.lease / self.RENEWALS, self._nudge),
            loop.call_repeatedly(self.SAFETY_NET, self._nudge),
        ]
        self._watch_descriptors()
        self.expect_more()

    def unregister_from_event_loop(self, connection: Any, loop: Any) -> None:
        """Leave `loop`; what is held stays held, and `drain_events` may take over."""
        self._leave_hub(loop)
        for descriptor in self._watched:
            loop.remove_reader(descriptor)
        self._watched.clear()

    def _watch_descriptors(self) -> None:
        self._unwatched = False
        wanted = self._descriptors()
        if self._link is not None:
            wanted[self._link.answers.fileno()] = self._link.answers
        for descriptor in self._watched.keys() - wanted.keys():
            self._hub.remove_reader(descriptor)
        for descriptor, owner in wanted.items():
            if self._watched.get(descriptor) is not owner:
                self._hub.add_reader(descriptor, self._callback(owner))
        self._watched = wanted

    def _callback(self, owner: Any) -> Callable[[], object]:
        if isinstance(owner, Waker):
            return owner.drain
        if self._link is not None and owner is self._link.answers:
            return self._on_answer
        return self._on_told if owner is self._link else self._on_heard

    def _on_told(self) -> None:
        """A list has changed: fetch at once, not only when the loop comes round."""
        if self._link is not None and self._link.drain():
            self._more = True
            self._on_tick()

    def _on_answer(self) -> None:
        """What was asked for arrives; where nothing was, it is the end of the connection."""
        self._answered = True
        if self._asked is None and self._link is not None:
            self._link.answers.drain()
        self._on_tick()

    def _on_heard(self) -> None:
        self._hears = True

    def _on_readable(self) -> None:
        if self._waker is None:
            return
        self._waker.drain()
        if self._link is not None and self._link.drain():
            self._more = True

    def _on_tick(self) -> None:
        super()._on_tick()
        if self._hub is None:
            return
        if self._unwatched:
            self._watch_descriptors()
        if self._hears:
            self._nudge()  # what was read of a descriptor may be more than one broadcast

    def listens_anew(self) -> None:
        """A channel has subscribed to broadcasts."""
        self._unwatched = self._hears = True

    # -- driven by drain_events -------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Make a waiting `drain_events` (or the next one) return early.

        Callable from any thread and from signal handlers; never blocks.
        """
        self._woken = True
        self._ring()

    def _sleep(self, timeout: float | None) -> None:
        descriptors = self._descriptors()
        if self._woken:  # by a thread that came before there was a waker
            return
        now = time.monotonic()
        limits = [self.SAFETY_NET if timeout is None else timeout, self._left_to_flush()]
        if self._room():
            limits.append(0.0 if self._more else self._next_look - now)
        if self._consumes() or self._holds_any():
            limits.append(self._next_upkeep - now)
        wait(descriptors, max(min(limits), 0.0))
        self._on_readable()

    def _ring(self) -> None:
        waker = self._waker
        if waker is not None:
            waker.wake()

    def _descriptors(self) -> dict[int, Any]:
        """What can be read when there is news, by descriptor, with what it belongs to."""
        self._after_fork()
        if self._waker is None:
            self._waker = Waker()
        found: dict[int, Any] = {self._waker.fileno(): self._waker}
        told = None if self._link is None else self._link.fileno()
        if told is not None:
            found[told] = self._link
        for channel in self.channels:
            heard = channel.listen()
            if heard is not None:
                found[heard] = channel
        return found
