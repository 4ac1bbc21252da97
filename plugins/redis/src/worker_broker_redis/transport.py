"""The kombu transport: when to fetch, flush, renew and sleep; the rest is `RedisChannel` and `Queues`."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import redis
from kombu.transport import virtual

from worker_kernel import LeasingTransport

from .address import Address
from .channel import Poller, RedisChannel
from .connections import LOST, disconnect, pool
from .link import Link
from .message import name
from .queues import Batch, Move, Queues
from .restore import restore
from .sending import Sender
from .waker import Waker, wait

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .queues import Delivery

log = logging.getLogger("worker_broker_redis")

SETTLED_AT_ONCE = 1000
"""Messages; a script takes some thousand arguments at most."""
UNWATCHED = 1.0
"""Seconds after which a sleeping consumer looks where the server tells no changes."""


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


class Asked(NamedTuple):
    """A fetch whose answer is still to come."""

    channel: RedisChannel
    """For whom."""
    settled: list[Delivery]
    """What is settled before it."""
    parked: list[tuple[Delivery, Move]]
    """What is put aside before it."""
    watching: bool
    """Whether changes are told from then on."""


class Transport(LeasingTransport):
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
        self.address = Address.of(client)
        """The server and the options."""
        self.pool = pool(self.address, client_name=client.transport_options.get("client_name"))
        """Connections for what is not fetched: declaring, broadcasts, and the one for sending."""
        self._sender = Sender(self.pool)
        self._parked: list[tuple[Delivery, Move]] = []
        self._queues: Queues | None = None
        self._link: Link | None = None
        self._waker: Waker | None = None
        self._asked: Asked | None = None
        self._answered = False  # whether the answer to that has begun to arrive
        self._due: list[float] = []  # seconds until something is due, by the last fetches
        self._next_upkeep = 0.0  # monotonic; when to renew, and to look for what is abandoned
        self._watched: dict[int, Any] = {}
        self._unwatched = True  # whether there may be descriptors that the hub does not know
        self._hears = True  # whether there may be broadcasts

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

    @property
    def queues(self) -> Queues:
        """What can be done to messages, as the owner that this connection is."""
        if self._queues is None:
            channel = self.channels[0]
            self._queues = Queues(
                channel.names(), lease=self.address.lease, visibility_timeout=channel.visibility_timeout
            )
        return self._queues

    @property
    def link(self) -> Link:
        """What scripts run on; connected on first use. What it was asked for is taken before.

        Raises:
            redis.ConnectionError: the server cannot be reached.
        """
        if self._link is None:
            self._link = Link(self.pool)
            self._unwatched = True
        if self._asked is not None:
            self._take(self._asked)
        return self._link

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

    # -- one turn ---------------------------------------------------------------------------------------------------

    def release(self, channel: Any) -> None:
        """See `LeasingTransport.release`; what was asked for may be for that channel."""
        if self._asked is not None and not self._after_fork():
            self._take(self._asked)
        super().release(channel)

    def _room(self) -> bool:
        return self._asked is None and super()._room()

    def flush(self) -> None:
        """Tell the server what was settled or parked, in as few steps as can be. What comes too late is logged."""
        if not (self._settled or self._parked) or self._after_fork():
            return
        while settled := self._settled[:SETTLED_AT_ONCE]:
            late = self.queues.settle(self.link, [delivery.tag for delivery in settled])
            del self._settled[: len(settled)]
            self._were_settled(settled, late)
        if self._parked:
            parked, self._parked = self._parked, []
            self._were_parked(parked, self.move([move for _, move in parked]))

    def _were_settled(self, settled: list[Delivery], late: frozenset[str]) -> None:
        if late:
            self.refused([delivery for delivery in settled if delivery.tag in late], "settlement")

    def _were_parked(self, parked: list[tuple[Delivery, Move]], late: frozenset[str]) -> None:
        if late:
            self.refused([delivery for delivery, _ in parked if delivery.tag in late], "park")

    def park_later(self, delivery: Delivery, move: Move) -> None:
        """Have a message put aside with the next fetch or, where there is no room for one, at the end of this turn."""
        self._parked.append((delivery, move))
        if len(self._parked) == 1:
            self.expect_more()  # and learn what is due next

    def _settle_up(self) -> None:
        if self._asked is not None:
            return  # it goes with the next fetch, or soon after this one
        if self._parked and not (self._more and self._room()):
            self.flush()
        else:
            super()._settle_up()

    def renew(self) -> None:
        """Renew the lease of all that is held. What has passed into other hands is logged, once."""
        if self._after_fork():
            return
        still = self.queues.renew(self.link)
        for channel in self.channels:
            qos = channel.qos
            lost = {tag for tag in qos.held if tag not in still} - qos.lost
            qos.lost |= lost
            self.refused([qos.held[tag] for tag in qos.held if tag in lost], "renewal")

    def restore(self) -> None:
        """Return what dead connections of ours held, and what anybody held past the visibility timeout."""
        if restore(self.queues, self.link, self.channels[0]):
            self.expect_more()

    def move(self, moves: Sequence[Move]) -> frozenset[str]:
        """Let go of messages; return the tags that came too late. See `Queues.move`."""
        late = self.queues.move(self.link, moves)
        self.expect_more()  # our own changes are not told
        return late

    def push(self, key: str, raw: str) -> None:
        """Put an envelope into a list; see `Sender.push`."""
        self._after_fork()
        self._sender.push(key, raw)

    def take_one(self, channel: RedisChannel, queue: str) -> tuple[Delivery, ...]:
        """Take one message of a queue, if there is one. See `Queues.fetch`."""
        self._after_fork()
        self._begin_upkeep()
        lists = [(queue, channel.key(queue, step)) for step in channel.priority_steps]
        return self._looked_at(self.queues.fetch(self.link, lists, width=1, limit=1)).deliveries

    def name(self, delivery: Delivery) -> str:
        """How the log calls a message."""
        return name(delivery)

    def statistics(self) -> TransportStatistics:
        """What is in hand at this moment."""
        return TransportStatistics(
            server=self.address.authority,
            **self.counts(),
        )

    def _take_turn(self) -> bool:
        """Renew, flush, fetch and deliver what there is; whether anything was delivered."""
        self._after_fork()
        begun = self._next_upkeep > 0.0
        if begun and time.monotonic() >= self._next_upkeep and (self._consumes() or self._holds_any()):
            self._upkeep()
        if not self._inbox:
            self._exchange()
        if not begun and self._consumes():
            self._first_upkeep()
        delivered = self._deliver_inbox()
        if self._hears or self._hub is None:
            self._hears = any(channel.hear() for channel in list(self.channels))
        return delivered or self._hears

    def _first_upkeep(self) -> None:
        """What a new connection has fetched is not to wait for it: then it is done in the next turn."""
        if self._inbox:
            self._next_upkeep = time.monotonic()
            self._nudge()
        else:
            self._upkeep()
            self._exchange()

    def _upkeep(self) -> None:
        self._begin_upkeep()
        if self._holds_any():
            self.renew()
        if self._consumes():
            self.restore()
        if self.link.probe(self.address.socket_timeout):
            self._more = True
        for channel in self.channels:
            channel.maybe_refresh_binding_expiry()

    def _begin_upkeep(self) -> None:
        self._next_upkeep = time.monotonic() + self.address.lease / self.RENEWALS

    def _exchange(self) -> None:
        """Fetch what there is room for, or take what was fetched; and tell what was settled and parked."""
        if self._asked is not None:
            if self._hub is None or self._answered:
                self._take(self._asked)
            return
        if time.monotonic() >= self._next_look:
            self._more = True
        channels = self._hungry() if self._more else []
        if not channels:
            self._settle_up()
            return
        if len(self._settled) > SETTLED_AT_ONCE:
            self.flush()
        if self.link.watch():
            self._unwatched = True
        self._more, self._due = False, []
        for channel in channels:
            asked = self._ask(channel)
            if self._hub is not None and len(channels) == 1 and channel.qos.patience > 1:
                self._asked, self._answered = asked, False  # there is enough to go on with meanwhile
            else:
                self._take(asked)

    def _ask(self, channel: RedisChannel) -> Asked:
        lists = channel.lists()
        width = len(lists) // len(channel.priority_steps) if channel.queue_order_strategy == "round_robin" else 1
        asked = Asked(
            channel=channel,
            settled=self._settled,
            parked=self._parked,
            watching=channel.left <= self.BATCH,  # what is told of a change is of no use where there is more anyway
        )
        self.queues.ask(
            self.link,
            lists,
            width=width,
            limit=channel.qos.allowed(self.BATCH),
            watching=asked.watching,
            settled=[delivery.tag for delivery in asked.settled],
            parked=[move for _, move in asked.parked],
        )
        self._settled, self._parked = [], []
        return asked

    def _take(self, asked: Asked) -> None:
        """Wait for what was asked for, and hold it."""
        self._asked = None
        channel, batch = asked.channel, self._looked_at(self.queues.answer(self.link))
        self._were_settled(asked.settled, batch.late)
        self._were_parked(asked.parked, batch.late)
        channel.hold(batch.deliveries)
        channel.qos.fetched(len(batch.deliveries))
        channel.fetched(batch)
        self._inbox.extend((channel, delivery) for delivery in batch.deliveries)
        self._more = self._more or batch.waiting > 0 or not asked.watching
        self._due += [] if batch.next_due is None else [batch.next_due]
        # Where the server had to be told the script first, the fetch came before what was parked.
        self._due += [float(move.where) for _, move in asked.parked]
        self.flush()  # what needs no acknowledgement is gone before it is delivered
        self._look_again(min(self._due, default=None))

    def _looked_at(self, batch: Batch) -> Batch:
        for queue in batch.damaged:
            log.error("an entry of queue %s is no message: it is kept as it is in %s.quarantine", queue, queue)
        return batch

    def _look_again(self, delay: float | None) -> None:
        longest = self.SAFETY_NET if self.link.watches else UNWATCHED
        delay = longest if delay is None else min(longest, max(delay, 0.0) + 0.001)
        self._look_in(delay)

    def _consumes(self) -> bool:
        return any(channel.active_queues for channel in self.channels)

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

    def _forget_after_fork(self) -> None:
        self._parked.clear()
        for thing in (self._link, self._waker, self._sender):
            if thing is not None:
                thing.close()
        self._link = self._waker = self._queues = self._asked = None
