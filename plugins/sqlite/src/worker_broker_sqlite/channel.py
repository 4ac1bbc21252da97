"""The channel: AMQP's verbs on the operations of `Queues`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from kombu.exceptions import ChannelError
from kombu.transport import virtual
from kombu.transport.virtual.base import NotEquivalentError
from kombu.transport.virtual.exchange import DirectExchange, TopicExchange

from worker_kernel import QUARANTINE_SUFFIX, LeasingChannel

from .message import eta, pack, quarantined, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker_kernel import LeasedMessage

    from .queues import Delivery

log = logging.getLogger("worker_broker_sqlite")


class SqliteChannel(LeasingChannel, virtual.Channel):  # type: ignore[misc]  # kombu is untyped
    """A channel of the embedded broker. Belongs to the thread that owns the connection."""

    log = log
    exchange_types = {"direct": DirectExchange, "topic": TopicExchange}  # noqa: RUF012  # kombu's way
    body_encoding = None  # the file holds bytes
    do_restore = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
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
        self.consumes(queue, no_ack, callback)

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop delivering to a consumer. What it holds stays held, and its leases are renewed."""
        queue = self._tag_to_queue.pop(consumer_tag, None)
        if queue is not None:
            self._consumers.discard(consumer_tag)
            self._active_queues.remove(queue)
            if queue not in self._active_queues:
                self.callbacks.pop(queue, None)

    def take(self, queue: str) -> tuple[Delivery, ...]:
        """Take one message of a queue, if there is one."""
        return tuple(self._queues.fetch([queue], 1).deliveries)

    def unpack(self, delivery: Delivery) -> dict[str, Any]:
        """Build what a `LeasedMessage` takes from a delivery."""
        return unpack(delivery, self._queues.database.path)

    # -- settlement -------------------------------------------------------------------------------------------------

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

    def basic_return(self, delivery_tag: str) -> None:
        """Put a message back to its old place, with the start that it has had."""
        self._open("basic_return")
        self.hand_back([delivery_tag], started=True)

    def hand_back(self, delivery_tags: list[str], *, started: bool = False) -> None:
        """Put messages back to their old places, as if they had never been started, or not. One transaction."""
        deliveries = [delivery for tag in delivery_tags if (delivery := self.qos.drop(tag)) is not None]
        if deliveries:
            lost = self._queues.hand_back([delivery.tag for delivery in deliveries], started=started)
            self.connection.refused([d for d in deliveries if d.tag in lost], "hand-back")
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

    def oldest(self, queue: str) -> int | None:
        """Return what names the message of a queue that is next, and no other; None: there is none."""
        found = self._queues.next_id(queue)
        return None if found is None else int(found)

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


def _not_found(what: str, which: str, method: str) -> ChannelError:
    return ChannelError(f"NOT_FOUND - no {what} {which!r} in this file", (50, 10), method, "404")
