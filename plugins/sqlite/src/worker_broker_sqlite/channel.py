"""The channel: AMQP's verbs on the operations of `Queues`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from amqp.exceptions import RecoverableConnectionError
from kombu.exceptions import ChannelError
from kombu.transport import virtual
from kombu.transport.virtual.base import NotEquivalentError
from kombu.transport.virtual.exchange import DirectExchange, TopicExchange

from worker_kernel import QUARANTINE_SUFFIX

from .message import LeasedMessage, eta, name, pack, quarantined, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .queues import Delivery

log = logging.getLogger("worker_broker_sqlite")


class QoS:
    """What a channel holds, and how much it may hold. Belongs to the thread that owns the connection."""

    def __init__(self, channel: SqliteChannel, prefetch_count: int = 0) -> None:
        self.channel = channel
        self.prefetch_count = prefetch_count
        """At most so many unsettled messages; 0: no limit."""
        self.held: dict[str, Delivery] = {}
        """Unsettled deliveries by token, oldest first, from the moment they are fetched."""
        self.lost: set[str] = set()
        """Those of `held` of which a renewal found that they are in other hands."""

    def can_consume(self) -> bool:
        """Whether there is room for one more."""
        return not self.prefetch_count or len(self.held) < self.prefetch_count

    def can_consume_max_estimate(self) -> int | None:
        """Room in messages; None: no limit."""
        return max(self.prefetch_count - len(self.held), 0) if self.prefetch_count else None

    def append(self, message: LeasedMessage, delivery_tag: str) -> None:
        """Nothing to do: a delivery is held from its fetch on, not from the moment it is handed over."""

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


class SqliteChannel(virtual.Channel):  # type: ignore[misc]  # kombu is untyped
    """A channel of the embedded broker. Belongs to the thread that owns the connection."""

    Message = LeasedMessage
    QoS = QoS
    exchange_types = {"direct": DirectExchange, "topic": TopicExchange}  # noqa: RUF012  # kombu's way
    body_encoding = None  # the file holds bytes
    do_restore = True
    closed: bool

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.callbacks: dict[str, Callable[[LeasedMessage], object]] = {}
        """Who gets the messages of a queue that this channel consumes from."""
        self._no_ack: set[str] = set()
        self._queues = connection.queues
        self._routing = connection.routing

    # -- messages ---------------------------------------------------------------------------------------------------

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        """Put the message into every queue that it is routed to, all or none."""
        with self._queues.database.transaction():
            super().basic_publish(message, exchange, routing_key, **kwargs)

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        head, body = pack(message)
        self._queues.put(queue, head, body, priority=self._get_message_priority(message), due=eta(message))
        self.connection.changed()

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[LeasedMessage], object], consumer_tag: str, **_: Any
    ) -> None:
        """Have messages of `queue` delivered to `callback`; with `no_ack` they are settled as they are fetched."""
        self._tag_to_queue[consumer_tag] = queue
        self._active_queues.append(queue)
        self._consumers.add(consumer_tag)
        self.callbacks[queue] = callback
        (self._no_ack.add if no_ack else self._no_ack.discard)(queue)
        self.connection.expect_more()

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop delivering to a consumer. What it holds stays held, and its leases are renewed."""
        queue = self._tag_to_queue.pop(consumer_tag, None)
        if queue is not None:
            self._consumers.discard(consumer_tag)
            self._active_queues.remove(queue)
            if queue not in self._active_queues:
                self.callbacks.pop(queue, None)

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:
        """Limit what this channel may hold to `prefetch_count` messages; 0: no limit."""
        super().basic_qos(prefetch_size, prefetch_count, apply_global)
        self.connection.expect_more()

    def basic_get(self, queue: str, no_ack: bool = False, **_: Any) -> LeasedMessage | None:
        """Take one message now; None when none is ready."""
        self._open("basic_get")
        for delivery in self._queues.fetch([queue], 1).deliveries:
            self.qos.held[delivery.token] = delivery
            message = self.receive(delivery)
            if message is not None and no_ack:
                self.basic_ack(delivery.token)
            return message
        return None

    def receive(self, delivery: Delivery) -> LeasedMessage | None:
        """Make a message of a delivery; None when it was damaged, and is in quarantine now."""
        try:
            return LeasedMessage(unpack(delivery, self._queues.database.path), channel=self)
        except ValueError as error:
            log.error("message %s of queue %s goes to quarantine: %s", name(delivery), delivery.queue, error)
            self.basic_quarantine(delivery.token, f"damaged: {error}")
            return None

    def hold(self, deliveries: Iterable[Delivery]) -> None:
        """Hold what was fetched; settle what nobody is going to acknowledge."""
        for delivery in deliveries:
            if delivery.queue in self._no_ack:
                self.connection.settle_later(delivery)
            else:
                self.qos.held[delivery.token] = delivery

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
            if delivery is None:
                log.warning("ignoring the settlement of %s, which this channel does not hold", tag)
            else:
                self.connection.settle_later(delivery)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message, or with `requeue` hand it back to its old place as if it had never been started."""
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
        if delivery is not None and not self._queues.park(delivery_tag, seconds):
            self.connection.refused([delivery], "park")
        self.connection.changed()

    def basic_quarantine(self, delivery_tag: str, reason: str) -> None:
        """Move a message, unread, to ``<queue>.quarantine``, with the reason in the header ``x-kernel-quarantine``."""
        self._open("basic_quarantine")
        delivery = self.qos.drop(delivery_tag)
        if delivery is None:
            return
        head = quarantined(delivery.head, reason)
        if not self._queues.move(delivery_tag, delivery.queue + QUARANTINE_SUFFIX, head):
            self.connection.refused([delivery], "quarantine")

    def hand_back(self, delivery_tags: list[str]) -> None:
        """Put messages back to their old places, as if they had never been started. One transaction."""
        deliveries = [delivery for tag in delivery_tags if (delivery := self.qos.drop(tag)) is not None]
        if deliveries:
            lost = self._queues.hand_back([delivery.token for delivery in deliveries])
            self.connection.refused([d for d in deliveries if d.token in lost], "hand-back")
            self.connection.changed()

    # -- queues and exchanges ---------------------------------------------------------------------------------------

    def _has_queue(self, queue: str, **_: Any) -> bool:
        return bool(self._queues.exists(queue))

    def _new_queue(self, queue: str, **_: Any) -> None:
        self._queues.declare(queue)

    def _size(self, queue: str) -> int:
        return int(self._queues.size(queue))

    def ready_count(self, queue: str) -> int:
        """How many messages of the queue could be delivered now; those that wait for their time are not counted."""
        return int(self._queues.counts(queue).ready)

    def _purge(self, queue: str) -> int:
        return int(self._queues.purge(queue))

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **_: Any) -> None:
        """Remove a queue, its bindings, and its messages, save those that a consumer holds."""
        if not (if_empty and self._size(queue)):
            self._queues.delete(queue)

    def exchange_declare(
        self,
        exchange: str | None = None,
        type: str | None = "direct",  # noqa: A002  # kombu's name
        durable: bool = False,
        auto_delete: bool = False,
        arguments: dict[str, object] | None = None,
        nowait: bool = False,
        passive: bool = False,
    ) -> None:
        """Make an exchange exist; every one lasts as long as the file.

        Raises:
            ChannelError: `passive`, and there is none; or the type is neither ``direct`` nor ``topic``.
            NotEquivalentError: there is one by that name, of another type or with other arguments.
        """
        kind = type or "direct"
        exchange = exchange or f"amq.{kind}"
        if passive:
            if self._routing.kind(exchange) is None:
                raise _not_found("exchange", exchange, "Channel.exchange_declare")
            return
        if kind not in self.exchange_types:
            raise ChannelError(
                f"NOT_IMPLEMENTED - exchange {exchange!r} is of type {kind!r}, and the sqlite transport offers "
                f"{' and '.join(sorted(self.exchange_types))} only",
                (40, 10),
                "Channel.exchange_declare",
                "540",
            )
        if not self._routing.declare(exchange, kind, arguments or {}):
            raise NotEquivalentError(f"exchange {exchange!r} exists with another type or other arguments")

    def exchange_delete(self, exchange: str, if_unused: bool = False, nowait: bool = False) -> None:
        """Remove an exchange and its bindings; the queues stay, as in AMQP."""
        self._routing.delete(exchange)

    def queue_bind(
        self, queue: str, exchange: str | None = None, routing_key: str = "", arguments: Any = None, **_: Any
    ) -> None:
        """Route messages of an exchange to a queue.

        Raises:
            ChannelError: there is no such exchange.
        """
        exchange = exchange or "amq.direct"
        if exchange in ("amq.direct", "amq.topic"):
            self.exchange_declare(exchange, exchange.removeprefix("amq."))
        elif self._routing.kind(exchange) is None:
            raise _not_found("exchange", exchange, "Channel.queue_bind")
        self._routing.bind(exchange, routing_key or "", queue)

    def queue_unbind(
        self, queue: str, exchange: str | None = None, routing_key: str = "", arguments: Any = None, **_: Any
    ) -> None:
        """Undo `queue_bind`."""
        self._routing.unbind(exchange or "amq.direct", routing_key or "", queue)

    def get_exchanges(self) -> list[str]:
        """All exchanges by name."""
        return list(self._routing.exchanges())

    def get_table(self, exchange: str) -> list[tuple[str, str | None, str]]:
        """Bindings of an exchange as kombu's exchange types take them."""
        prepare = self.typeof(exchange).prepare_bind
        return [prepare(queue, exchange, key, None) for key, queue in self._routing.bindings(exchange)]

    def typeof(self, exchange: str, default: str = "direct") -> Any:
        """The routing rule of an exchange."""
        return self.exchange_types[self._routing.kind(exchange) or default]

    def list_bindings(self) -> list[tuple[str, str, str]]:
        """Queue, exchange and routing key of every binding."""
        return [
            (queue, exchange, key)
            for exchange in self._routing.exchanges()
            for key, queue in self._routing.bindings(exchange)
        ]

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
        finally:
            self.closed = True
            transport.close_channel(self)

    @property
    def active_queues(self) -> list[str]:
        """The queues that are consumed from, each once, in the order of their consumers."""
        return list(dict.fromkeys(self._active_queues))

    def _open(self, method: str) -> None:
        if self.closed:
            raise RecoverableConnectionError(f"{method}: the channel is closed, and what it held was handed back")


def _not_found(what: str, which: str, method: str) -> ChannelError:
    return ChannelError(f"NOT_FOUND - no {what} {which!r} in this file", (50, 10), method, "404")
