"""The channel: AMQP's verbs on the operations of `Queues`; exchanges, bindings and broadcasts are kombu's."""

from __future__ import annotations

import itertools
import logging
import re
import zlib
from typing import TYPE_CHECKING, Any

import redis
from kombu.transport import redis as kombu_redis
from kombu.utils import json as kombu_json

from worker_kernel import QUARANTINE_SUFFIX, LeasingChannel

from .browsing import BrowsedMessage, browse
from .message import handed_back, quarantined, unpack
from .queues import Keys, Move

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker_kernel import LeasedMessage

    from .queues import Batch, Delivery

log = logging.getLogger("worker_broker_redis")

_text = kombu_json.JSONEncoder().encode
"""Writes an envelope as kombu does, which makes an encoder anew for each."""


class Poller:
    """What stands where kombu's transport has its poller, for the parts of its channel that mention it."""

    _in_protected_read = False

    def add(self, channel: Any) -> None:
        """Nothing to do: the transport knows its channels."""

    def discard(self, channel: Any) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class RedisChannel(LeasingChannel, kombu_redis.Channel):  # type: ignore[misc]  # kombu is untyped
    """A channel on Redis. Belongs to the thread that owns the connection.

    Sending, exchanges, bindings, expiring queues and broadcasts are kombu's own; taking, settling and handing back are
    not.
    """

    log = log
    keyprefix_fanout: str

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        self._consumed: list[str] = []
        self._keys: dict[tuple[str, int], str] = {}
        self._shared_client: Any = None
        self._ordered: list[str] = []  # the queues that are consumed from, as they had their turn last
        self._lists: list[tuple[str, str]] = []  # theirs
        self.left = 0
        """Messages that the last fetch has left in the queues."""
        super().__init__(connection, **kwargs)

    # -- kombu's connections ------------------------------------------------------------------------------------------

    def _get_pool(self, asynchronous: bool = False) -> Any:
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=self.connection.address.db)
        return self.connection.pool

    def _create_client(self, asynchronous: bool = False) -> Any:
        if self._shared_client is None:
            self._shared_client = super()._create_client(asynchronous)  # takes longer than to send a message with it
        return self._shared_client

    def _disconnect_pools(self) -> None:
        self._pool = self._async_pool = None  # the transport's, which closes it

    def names(self) -> Keys:
        """The names of keys, as the transport's options have them."""
        return Keys(self.global_keyprefix, unacked=self.unacked_key, index=self.unacked_index_key)

    # -- sending ------------------------------------------------------------------------------------------------------

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        """Put a message into its list. kombu's way for what is more than that takes longer than the server does."""
        if queue in self._expires or kwargs.get("_publish_batch") is not None:
            super()._put(queue, message, **kwargs)
            return
        priority = self.priority(self._get_message_priority(message, reverse=False))
        self.connection.push(self._key(queue, priority), _text(message))

    # -- messages ---------------------------------------------------------------------------------------------------

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[LeasedMessage], object], consumer_tag: str, **kwargs: Any
    ) -> None:
        """Have messages of `queue` delivered to `callback`; with `no_ack` they are settled as they are fetched."""
        super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        if queue in self.active_fanout_queues:
            self._in_listen = False
            self.listen()  # at once, to all of them: what is broadcast before the subscription reaches nobody
            self.connection.listens_anew()
        self.consumes(queue, no_ack, callback)

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop delivering to a consumer. What it holds stays held, and its lease is renewed."""
        queue = self._tag_to_queue.get(consumer_tag)
        self._basic_cancel(consumer_tag)
        if queue is not None and queue not in self._active_queues:
            self.callbacks.pop(queue, None)

    @property
    def active_queues(self) -> list[str]:
        """The queues that are consumed from, broadcasts not counted; kombu finds them out anew for each fetch."""
        return self._consumed

    def _update_queue_cycle(self) -> None:
        """Called by kombu whenever consuming begins or ends."""
        self._consumed = super().active_queues
        super()._update_queue_cycle()

    def take(self, queue: str) -> tuple[Delivery, ...]:
        """Take one message of a queue, if there is one."""
        return tuple(self.connection.take_one(self, queue))

    def unpack(self, delivery: Delivery) -> dict[str, Any]:
        """Build what a `LeasedMessage` takes from a delivery."""
        transport = self.connection
        return unpack(delivery, transport.address.authority, transport.queues.holder)

    def not_held(self, delivery_tag: str) -> None:
        """Nothing to say: a broadcast has nothing to be settled."""

    def lists(self) -> list[tuple[str, str]]:
        """Queue and key of every list that is consumed from, the most urgent first, as kombu orders them."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        if queues != self._ordered:
            self._ordered = queues
            self._lists = [(queue, self._key(queue, step)) for step in self.priority_steps for queue in queues]
        return self._lists

    def key(self, queue: str, priority: int = 0) -> str:
        """The key of the list of a queue's messages of a priority."""
        return f"{self.global_keyprefix}{self._q_for_pri(queue, priority)}"

    def _key(self, queue: str, priority: int) -> str:
        """As `key`, for those that are asked for with each fetch."""
        found = self._keys.get((queue, priority))
        if found is None:
            found = self._keys[queue, priority] = self.key(queue, priority)
        return found

    def fetched(self, batch: Batch) -> None:
        """Remember what was left, give the next queue its turn, and keep expiring queues."""
        self.left = batch.waiting
        for queue in dict.fromkeys(delivery.queue for delivery in batch.deliveries):
            self._queue_cycle.rotate(queue)
        for queue in self._expires:
            if queue in self._active_queues:
                self._maybe_update_queues_expire(self._create_client(), queue)

    # -- settlement -------------------------------------------------------------------------------------------------

    def basic_park(self, delivery_tag: str, seconds: float) -> None:
        """Hand a message back, as it came, so that nobody gets it for `seconds`; at the next turn of the transport."""
        self._open("basic_park")
        delivery = self.qos.drop(delivery_tag)
        if delivery is not None:
            self.qos.parked += 1
            self.connection.park_later(delivery, self._move(delivery, delivery.raw, where=seconds))

    def basic_return(self, delivery_tag: str) -> None:
        """Put a message back to be taken next, with the start that it has had."""
        self._open("basic_return")
        delivery = self.qos.drop(delivery_tag)
        if delivery is not None:
            move = self._move(delivery, handed_back(delivery), attempts="count")
            self._refuse([delivery], self.connection.move([move]), "return")

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

    def oldest(self, queue: str) -> int | None:
        """Return what names the message of a queue that is next, and no other; None: there is none."""
        client = redis.Redis(connection_pool=self.connection.pool)
        for step in self.priority_steps:
            raw = client.lindex(self.key(queue, step), -1)
            if raw is not None:
                return zlib.crc32(raw)
        return None

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
