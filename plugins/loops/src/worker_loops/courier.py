"""Copies of messages, for brokers that cannot change a message in place: AMQP's.

A copy is sent before its original is acknowledged, and the broker confirms it in between: a crash at the wrong moment
leaves two, never none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from kombu import Producer

from worker_kernel import ATTEMPTS_HEADER, declare_queue

BROKER_COUNT = "x-delivery-count"
"""The quorum queue's own count of the deliveries of one copy: it is not the next one's."""
KEPT_PROPERTIES = (
    "correlation_id",
    "reply_to",
    "priority",
    "delivery_mode",
    "message_id",
    "timestamp",
    "type",
    "app_id",
)


class Courier:
    """Sends copies over a connection of its own, opened when it is first needed. Belongs to the loop's thread.

    Its own connection, because whoever waits for a confirmation on the consumer's would be handed deliveries meanwhile.
    What goes wrong with it counts as the loss of the generation that it belongs to.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        """Remember how to connect: ``connect`` returns an unconnected ``kombu.Connection``."""
        self._connect = connect
        self._connection: Any = None
        self._producer: Any = None
        self._declared: set[str] = set()

    @property
    def connection(self) -> Any:
        """The connection, opened on first use."""
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def send(self, message: Any, routing_key: str, *, exchange: str = "", headers: Mapping[str, object]) -> None:
        """Send a copy of a kombu message and wait until the broker has confirmed it; the original is left alone.

        Args:
            message: what to copy, body and headers as they came.
            routing_key: where to; with the default exchange, a queue that exists.
            exchange: through which exchange.
            headers: to be added, or to replace those of the same name.

        Raises:
            Exception: what the connection raises; the broker may or may not have the copy.
        """
        kept = {name: value for name, value in (message.headers or {}).items() if name != BROKER_COUNT}
        properties = {name: message.properties[name] for name in KEPT_PROPERTIES if name in message.properties}
        if self._producer is None:
            self._producer = Producer(self.connection, auto_declare=False)
        self._producer.publish(
            getattr(message, "raw_body", message.body),
            routing_key=routing_key,
            exchange=exchange,
            headers={**kept, **headers},
            mandatory=True,  # a copy that no queue takes must not be confirmed
            content_type=message.content_type or "application/data",
            content_encoding=message.content_encoding or "binary",
            **properties,
        )

    def declare(self, queue: Any) -> None:
        """Make sure that a ``kombu.Queue`` exists."""
        if queue.name not in self._declared:
            declare_queue(self.connection, queue)
            self._declared.add(queue.name)

    def hand_back(self, message: Any, queue: str, attempts: int) -> None:
        """Let a message go back to its queue as if it had never been here.

        AMQP's own way would mark it as delivered before, and count that.
        """
        self.send(message, queue, headers={ATTEMPTS_HEADER: attempts})
        message.ack()

    def close(self) -> None:
        """Close the connection. Never raises what connections raise; idempotent."""
        connection, self._connection, self._producer = self._connection, None, None
        self._declared.clear()
        if connection is not None:
            with contextlib.suppress(OSError, *_errors(connection)):
                connection.close()

    def collect(self) -> None:
        """Drop the connection without a word to the broker. Idempotent."""
        connection, self._connection, self._producer = self._connection, None, None
        self._declared.clear()
        if connection is not None:
            connection.collect()


def _errors(connection: Any) -> Collection[type[BaseException]]:
    return (*connection.connection_errors, *connection.channel_errors)
