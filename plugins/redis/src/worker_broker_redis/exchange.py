"""The turns of the transport: what is settled and parked goes with the fetch, leases are renewed, the lost restored."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from worker_kernel import LeasingTransport

from .address import Address
from .connections import pool
from .link import Link
from .message import name
from .queues import Batch, Move, Queues
from .restore import restore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .channel import RedisChannel
    from .queues import Delivery

log = logging.getLogger("worker_broker_redis")

SETTLED_AT_ONCE = 1000
"""Messages; a script takes some thousand arguments at most."""
UNWATCHED = 1.0
"""Seconds after which a sleeping consumer looks where the server tells no changes."""


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


class ExchangingTransport(LeasingTransport):
    """The half of `Transport` that talks about messages; the other one has the connection, and waits."""

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.address = Address.of(client)
        """The server and the options."""
        self.pool = pool(self.address, client_name=client.transport_options.get("client_name"))
        """Connections for what is not fetched: declaring, broadcasts, and the one for sending."""
        self._parked: list[tuple[Delivery, Move]] = []
        self._queues: Queues | None = None
        self._link: Link | None = None
        self._asked: Asked | None = None
        self._answered = False  # whether the answer to that has begun to arrive
        self._due: list[float] = []  # seconds until something is due, by the last fetches
        self._next_upkeep = 0.0  # monotonic; when to renew, and to look for what is abandoned
        self._unwatched = True  # whether there may be descriptors that the hub does not know
        self._hears = True  # whether there may be broadcasts

    # -- messages ------------------------------------------------------------------------------------------------------

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

    def move(self, moves: Sequence[Move]) -> frozenset[str]:
        """Let go of messages; return the tags that came too late. See `Queues.move`."""
        late = self.queues.move(self.link, moves)
        self.expect_more()  # our own changes are not told
        return late

    def take_one(self, channel: RedisChannel, queue: str) -> tuple[Delivery, ...]:
        """Take one message of a queue, if there is one. See `Queues.fetch`."""
        self._after_fork()
        self._begin_upkeep()
        lists = [(queue, channel.key(queue, step)) for step in channel.priority_steps]
        return self._looked_at(self.queues.fetch(self.link, lists, width=1, limit=1)).deliveries

    def park_later(self, delivery: Delivery, move: Move) -> None:
        """Have a message put aside with the next fetch or, where there is no room for one, at the end of this turn."""
        self._parked.append((delivery, move))
        if len(self._parked) == 1:
            self.expect_more()  # and learn what is due next

    def release(self, channel: Any) -> None:
        """See `LeasingTransport.release`; what was asked for may be for that channel."""
        if self._asked is not None and not self._after_fork():
            self._take(self._asked)
        super().release(channel)

    def name(self, delivery: Delivery) -> str:
        """How the log calls a message."""
        return name(delivery)

    # -- one turn ------------------------------------------------------------------------------------------------------

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

    def _room(self) -> bool:
        return self._asked is None and super()._room()

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

    # -- what is settled and parked ------------------------------------------------------------------------------------

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

    def _settle_up(self) -> None:
        if self._asked is not None:
            return  # it goes with the next fetch, or soon after this one
        if self._parked and not (self._more and self._room()):
            self.flush()
        else:
            super()._settle_up()

    def _were_settled(self, settled: list[Delivery], late: frozenset[str]) -> None:
        if late:
            self.refused([delivery for delivery in settled if delivery.tag in late], "settlement")

    def _were_parked(self, parked: list[tuple[Delivery, Move]], late: frozenset[str]) -> None:
        if late:
            self.refused([delivery for delivery, _ in parked if delivery.tag in late], "park")

    # -- leases --------------------------------------------------------------------------------------------------------

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

    def _consumes(self) -> bool:
        return any(channel.active_queues for channel in self.channels)
