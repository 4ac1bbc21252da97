"""What a channel holds, and how it is settled."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from amqp.exceptions import RecoverableConnectionError

from .message import LeasedMessage


class Delivery(Protocol):
    """One message in the hands of one consumer."""

    @property
    def tag(self) -> str:
        """New with each delivery."""
        ...

    @property
    def queue(self) -> str:
        """The queue that it was taken from."""
        ...


class LeasedQoS:
    """What a channel holds, and how much it may hold. Belongs to the thread that owns the connection."""

    def __init__(self, channel: LeasingChannel, prefetch_count: int = 0) -> None:
        self.channel = channel
        self.prefetch_count = prefetch_count
        """At most so many unsettled messages; 0: no limit."""
        self.patience = 1
        """Messages that are worth a fetch, or a flush; fewer are fetched where no more are allowed."""
        self.held: dict[str, Any] = {}
        """Unsettled deliveries by tag, oldest first, from the moment they are fetched."""
        self.lost: set[str] = set()
        """Those of `held` of which a renewal found that they are in other hands."""

    def can_consume(self) -> bool:
        """Whether there is room for one more."""
        return not self.prefetch_count or len(self.held) < self.prefetch_count

    def is_hungry(self) -> bool:
        """Whether there is room for as many as are worth a fetch."""
        most = self.prefetch_count
        return not most or most - len(self.held) >= min(self.patience, most)

    def can_consume_max_estimate(self) -> int | None:
        """Room in messages; None: no limit."""
        return max(self.prefetch_count - len(self.held), 0) if self.prefetch_count else None

    def append(self, message: LeasedMessage, delivery_tag: str) -> None:
        """Nothing to do: a delivery is held from its fetch on, and a broadcast is not held at all."""

    def get(self, delivery_tag: str) -> Any:
        """The delivery behind a tag.

        Raises:
            KeyError: it is not held.
        """
        return self.held[delivery_tag]

    def drop(self, delivery_tag: str) -> Any:
        """Forget a delivery, because it is being settled; None where it is not held."""
        if self.lost:
            self.lost.discard(delivery_tag)
        return self.held.pop(delivery_tag, None)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Hand back all that is held; forget what a renewal found lost."""
        for delivery_tag in list(self.lost):
            self.drop(delivery_tag)
        self.channel.hand_back(list(self.held))


class LeasingChannel(ABC):
    """Mixed into one of kombu's virtual channels, before it. Belongs to the thread that owns the connection.

    The transport brings what does something to messages: `take`, `unpack`, `hand_back`,
    `basic_quarantine` and ``basic_park``.
    """

    Message = LeasedMessage
    QoS = LeasedQoS
    log = logging.getLogger("worker_kernel.leasing")
    """The transport's own."""
    connection: Any
    closed: bool
    qos: Any

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        self.callbacks: dict[str, Callable[[LeasedMessage], object]] = {}
        """Who gets the messages of a queue that this channel consumes from."""
        self._no_ack: set[str] = set()
        super().__init__(connection, **kwargs)  # type: ignore[call-arg]  # that of kombu's channel

    @abstractmethod
    def take(self, queue: str) -> Iterable[Delivery]:
        """Take one message of a queue, if there is one."""

    @abstractmethod
    def unpack(self, delivery: Any) -> Mapping[str, Any]:
        """Build what `LeasedMessage` takes from a delivery, or raise what says that it is damaged."""

    @abstractmethod
    def hand_back(self, delivery_tags: list[str]) -> None:
        """Put messages back, as if they had never been started. One step."""

    @abstractmethod
    def basic_return(self, delivery_tag: str) -> None:
        """Put a message back, to be taken next, with the start that it has had."""

    @abstractmethod
    def basic_quarantine(self, delivery_tag: str, reason: str) -> None:
        """Move a message, unread, to ``<queue>.quarantine``, with the reason in the header ``x-kernel-quarantine``."""

    # -- taking -----------------------------------------------------------------------------------------------------

    def consumes(self, queue: str, no_ack: bool, callback: Callable[[LeasedMessage], object]) -> None:
        """Have messages of `queue` delivered to `callback`; with `no_ack` they are settled as they are fetched."""
        self.callbacks[queue] = callback
        (self._no_ack.add if no_ack else self._no_ack.discard)(queue)
        self.connection.expect_more()

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:
        """Limit what this channel may hold to `prefetch_count` messages; 0: no limit."""
        self.qos.prefetch_count = prefetch_count
        self.connection.expect_more()

    def exchange_by(self, messages: int) -> None:
        """Fetch, and flush what was settled, for `messages` (1 or more) at a time rather than one by one.

        For who has enough messages to go on with. What was settled is flushed after `LeasingTransport.TOGETHER` seconds
        all the same.
        """
        self.qos.patience = messages
        self.connection.expect_more()

    def basic_get(self, queue: str, no_ack: bool = False, **_: Any) -> LeasedMessage | None:
        """Take one message now; None when none is ready."""
        self._open("basic_get")
        for delivery in self.take(queue):
            self.qos.held[delivery.tag] = delivery
            message = self.receive(delivery)
            if message is not None and no_ack:
                self.basic_ack(delivery.tag)
            return message
        return None

    def receive(self, delivery: Delivery) -> LeasedMessage | None:
        """Make a message of a delivery; None when it was damaged, and is in quarantine now."""
        try:
            return self.Message(self.unpack(delivery), channel=self)
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            self.log.error(
                "message %s of queue %s goes to quarantine: %s", self.connection.name(delivery), delivery.queue, error
            )
            self.basic_quarantine(delivery.tag, f"damaged: {error}"[:500])
            return None

    def hold(self, deliveries: Iterable[Delivery]) -> None:
        """Hold what was fetched; settle what nobody is going to acknowledge."""
        for delivery in deliveries:
            if delivery.queue in self._no_ack:
                self.connection.settle_later(delivery)
            else:
                self.qos.held[delivery.tag] = delivery

    # -- settlement -------------------------------------------------------------------------------------------------

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Settle a message, at the next turn of the transport; with `multiple` all that were fetched before it too."""
        if self.closed:
            self._open("basic_ack")
        qos = self.qos
        tags = [delivery_tag]
        if multiple and delivery_tag in qos.held:
            held = list(qos.held)
            tags = held[: held.index(delivery_tag) + 1]
        for tag in tags:
            delivery = qos.drop(tag)
            if delivery is None:
                self.not_held(tag)
            else:
                self.connection.settle_later(delivery)

    def not_held(self, delivery_tag: str) -> None:
        """Say that something is settled that this channel does not hold; it is ignored otherwise."""
        self.log.warning("ignoring the settlement of %s, which this channel does not hold", delivery_tag)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message, or with `requeue` hand it back as if it had never been started."""
        self._open("basic_reject")
        if requeue:
            self.hand_back([delivery_tag])
        else:
            self.basic_ack(delivery_tag)

    def basic_recover(self, requeue: bool = False) -> None:
        """Hand back all that this channel holds; the same without `requeue`, which has no meaning here."""
        self.qos.restore_unacked_once()

    def _open(self, method: str) -> None:
        if self.closed:
            raise RecoverableConnectionError(f"{method}: the channel is closed, and what it held was handed back")
