"""The channel: AMQP's verbs on the operations of `Queues`; exchanges, bindings and broadcasts are kombu's."""

from __future__ import annotations

import itertools
import logging
import re
from typing import TYPE_CHECKING, Any

import redis
from amqp.exceptions import RecoverableConnectionError
from kombu.transport import redis as kombu_redis

from worker_kernel import QUARANTINE_SUFFIX

from .browsing import BrowsedMessage, browse
from .message import LeasedMessage, handed_back, name, quarantined, unpack
from .queues import Keys, Move

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .queues import Delivery

log = logging.getLogger("worker_broker_redis")


class QoS:
    """What a channel holds, and how much it may hold. Belongs to the thread that owns the connection."""

    def __init__(self, channel: RedisChannel, prefetch_count: int = 0) -> None:
        self.channel = channel
        self.prefetch_count = prefetch_count
        """At most so many unsettled messages; 0: no limit."""
        self.held: dict[str, Delivery] = {}
        """Unsettled deliveries by tag, oldest first, from the moment they are fetched."""
        self.lost: set[str] = set()
        """Those of `held` of which a renewal found that they are in other hands."""

    def can_consume(self) -> bool:
        """Whether there is room for one more."""
        return not self.prefetch_count or len(self.held) < self.prefetch_count

    def can_consume_max_estimate(self) -> int | None:
        """Room in messages; None: no limit."""
        return max(self.prefetch_count - len(self.held), 0) if self.prefetch_count else None

    def append(self, message: LeasedMessage, delivery_tag: str) -> None:
        """Nothing to do: a delivery is held from its fetch on, and a broadcast is not held at all."""

    def get(self, delivery_tag: str) -> Delivery:
        """The delivery behind a tag.

        Raises:
            KeyError: it is not held.
        """
        return self.held[delivery_tag]

    def drop(self, delivery_tag: str) -> Delivery | None:
        """Forget a delivery, because it is being settled; None where it is not held."""
        self.lost.discard(delivery_tag)
        return self.held.pop(delivery_tag, None)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Hand back all that is held; forget what a renewal found lost."""
        for delivery_tag in list(self.lost):
            self.drop(delivery_tag)
        self.channel.hand_back(list(self.held))


class Poller:
    """What stands where kombu's transport has its poller, for the parts of its channel that mention it."""

    _in_protected_read = False

    def add(self, channel: Any) -> None:
        """Nothing to do: the transport knows its channels."""

    def discard(self, channel: Any) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class RedisChannel(kombu_redis.Channel):  # type: ignore[misc]  # kombu is untyped
    """A channel on Redis. Belongs to the thread that owns the connection.

    Sending, exchanges, bindings, expiring queues and broadcasts are kombu's own; taking, settling and handing back are
    not.
    """

    Message = LeasedMessage
    QoS = QoS
    closed: bool
    keyprefix_fanout: str

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        self.callbacks: dict[str, Callable[[LeasedMessage], object]] = {}
        """Who gets the messages of a queue that this channel consumes from."""
        self._no_ack: set[str] = set()
        super().__init__(connection, **kwargs)

    # -- kombu's connections ------------------------------------------------------------------------------------------

    def _get_pool(self, asynchronous: bool = False) -> Any:
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=self.connection.address.db)
        return self.connection.pool

    def _disconnect_pools(self) -> None:
        self._pool = self._async_pool = None  # the transport's, which closes it

    def names(self) -> Keys:
        """The names of keys, as the transport's options have them."""
        return Keys(self.global_keyprefix, unacked=self.unacked_key, index=self.unacked_index_key)

    # -- messages ---------------------------------------------------------------------------------------------------

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[LeasedMessage], object], consumer_tag: str, **kwargs: Any
    ) -> None:
        """Have messages of `queue` delivered to `callback`; with `no_ack` they are settled as they are fetched."""
        super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        self.callbacks[queue] = callback
        (self._no_ack.add if no_ack else self._no_ack.discard)(queue)
        if queue in self.active_fanout_queues:
            self._in_listen = False  # the next turn subscribes to all of them
        self.connection.expect_more()

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop delivering to a consumer. What it holds stays held, and its lease is renewed."""
        queue = self._tag_to_queue.get(consumer_tag)
        self._basic_cancel(consumer_tag)
        if queue is not None and queue not in self._active_queues:
            self.callbacks.pop(queue, None)

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:
        """Limit what this channel may hold to `prefetch_count` messages; 0: no limit."""
        super().basic_qos(prefetch_size, prefetch_count, apply_global)
        self.connection.expect_more()

    def basic_get(self, queue: str, no_ack: bool = False, **_: Any) -> LeasedMessage | None:
        """Take one message now; None when none is ready."""
        self._open("basic_get")
        for delivery in self.connection.take_one(self, queue):
            self.qos.held[delivery.tag] = delivery
            message = self.receive(delivery)
            if message is not None and no_ack:
                self.basic_ack(delivery.tag)
            return message
        return None

    def receive(self, delivery: Delivery) -> LeasedMessage | None:
        """Make a message of a delivery; None when it was damaged, and is in quarantine now."""
        transport = self.connection
        try:
            payload = unpack(delivery, transport.address.authority, transport.queues.holder)
            return LeasedMessage(payload, channel=self)
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            log.error("message %s of queue %s goes to quarantine: %s", name(delivery), delivery.queue, error)
            self.basic_quarantine(delivery.tag, f"damaged: {error}"[:500])
            return None

    def hold(self, deliveries: Iterable[Delivery]) -> None:
        """Hold what was fetched; settle what nobody is going to acknowledge."""
        for delivery in deliveries:
            if delivery.queue in self._no_ack:
                self.connection.settle_later(delivery)
            else:
                self.qos.held[delivery.tag] = delivery

    def lists(self) -> list[tuple[str, str]]:
        """Queue and key of every list that is consumed from, the most urgent first, as kombu orders them."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        return [(queue, self.key(queue, step)) for step in self.priority_steps for queue in queues]

    def key(self, queue: str, priority: int = 0) -> str:
        """The key of the list of a queue's messages of a priority."""
        return f"{self.global_keyprefix}{self._q_for_pri(queue, priority)}"

    def fetched(self, deliveries: Iterable[Delivery]) -> None:
        """Give the next queue its turn, and keep expiring queues."""
        for queue in dict.fromkeys(delivery.queue for delivery in deliveries):
            self._queue_cycle.rotate(queue)
        for queue in self._expires:
            if queue in self._active_queues:
                self._maybe_update_queues_expire(self._create_client(), queue)

    # -- settlement -------------------------------------------------------------------------------------------------

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Settle a message, at the next turn of the transport; with `multiple` all that were fetched before it too."""
        self._open("basic_ack")
        tags = [delivery_tag]
        if multiple:
            held = list(self.qos.held)
            tags = held[: held.index(delivery_tag) + 1] if delivery_tag in self.qos.held else tags
        for tag in tags:
            delivery = self.qos.drop(tag)
            if delivery is not None:  # a broadcast has nothing to be settled
                self.connection.settle_later(delivery)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message, or with `requeue` hand it back, to be taken next, as if it had never been started."""
        self._open("basic_reject")
        if requeue:
            self.hand_back([delivery_tag])
        else:
            self.basic_ack(delivery_tag)

    def basic_recover(self, requeue: bool = False) -> None:
        """Hand back all that this channel holds; the same without `requeue`, which has no meaning here."""
        self.qos.restore_unacked_once()

    def basic_park(self, delivery_tag: str, seconds: float) -> None:
        """Hand a message back so that nobody gets it for `seconds`."""
        self._open("basic_park")
        delivery = self.qos.drop(delivery_tag)
        if delivery is not None:
            move = self._move(delivery, handed_back(delivery), where=seconds)
            self._refuse([delivery], self.connection.move([move]), "park")

    def basic_quarantine(self, delivery_tag: str, reason: str) -> None:
        """Move a message, unread, to ``<queue>.quarantine``, with the reason in the header ``x-kernel-quarantine``."""
        self._open("basic_quarantine")
        delivery = self.qos.drop(delivery_tag)
        if delivery is not None:
            place = self.key(delivery.queue + QUARANTINE_SUFFIX)
            move = self._move(delivery, quarantined(delivery, reason), attempts="drop", place=place, where="last")
            self._refuse([delivery], self.connection.move([move]), "quarantine")

    def hand_back(self, delivery_tags: list[str]) -> None:
        """Put messages back to be taken next, in their order, as if they had never been started. One step."""
        deliveries = [delivery for tag in delivery_tags if (delivery := self.qos.drop(tag)) is not None]
        if deliveries:
            moves = [self._move(delivery, handed_back(delivery)) for delivery in reversed(deliveries)]
            self._refuse(deliveries, self.connection.move(moves), "hand-back")

    def _move(
        self,
        delivery: Delivery,
        raw: bytes | str,
        *,
        attempts: str = "back",
        place: str = "",
        where: str | float = "next",
    ) -> Move:
        return Move(
            owner=self.connection.queues.nonce,
            tag=delivery.tag,
            attempts=attempts,
            list=place or delivery.list,
            raw=raw,
            where=where,
        )

    def _refuse(self, deliveries: list[Delivery], late: frozenset[str], what: str) -> None:
        self.connection.refused([delivery for delivery in deliveries if delivery.tag in late], what)

    # -- queues -------------------------------------------------------------------------------------------------------

    def browse(self, queue: str) -> list[BrowsedMessage]:
        """Return what lies in a queue, oldest first, and leave it there; see `BrowsedMessage`."""
        return browse(self, queue)

    def _purge(self, queue: str) -> int:
        """Remove the messages that are in nobody's hands, those that are parked too; return how many."""
        count = int(super()._purge(queue))
        client, delayed = redis.Redis(connection_pool=self.connection.pool), self.names().delayed
        for step in self.priority_steps:
            key = self.key(queue, step)
            start = f"{len(key.encode())}:{key}{{"
            pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", start) + "*"
            found = client.zscan_iter(delayed, match=pattern, count=1000)
            while members := [member for member, _ in itertools.islice(found, 1000)]:
                count += int(client.zrem(delayed, *members))
        return count

    # -- broadcasts ---------------------------------------------------------------------------------------------------

    def listen(self) -> int | None:
        """Subscribe to the broadcasts that this channel consumes; the descriptor where they arrive, if any."""
        if not self.active_fanout_queues:
            return None
        subscriber = self.subclient
        if subscriber.connection is None:
            subscriber.connection = subscriber.connection_pool.get_connection()
            self._in_listen = False
        if not self._in_listen:
            self._subscribe()
        return int(subscriber.connection._sock.fileno())  # noqa: SLF001  # redis-py offers no other way

    def hear(self) -> bool:
        """Deliver the broadcasts that have come, without waiting; whether there were any."""
        connection = None if not self._in_listen else self.subclient.connection
        return connection is not None and connection.can_read(timeout=0) and bool(self._receive())

    # -- end --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel the consumers, flush what was settled and hand back what was not. Idempotent."""
        if self.closed:
            return
        transport = self.connection
        try:
            for tag in sorted(self._consumers):
                self.basic_cancel(tag)
            transport.release(self)
            for queue in self._fanout_queues:
                if queue in self.auto_delete_queues:
                    self.queue_delete(queue)
        finally:
            self.drop()

    def drop(self) -> None:
        """Close without a word to the server. Idempotent."""
        if self.closed:
            return
        self.closed = self._closing = True
        subscriber = self.__dict__.pop("subclient", None)
        if subscriber is not None:
            connection, subscriber.connection = subscriber.connection, None
            if connection is not None:
                connection.disconnect()
        self._disconnect_pools()
        self.connection.close_channel(self)

    def _open(self, method: str) -> None:
        if self.closed:
            raise RecoverableConnectionError(f"{method}: the channel is closed, and what it held was handed back")
