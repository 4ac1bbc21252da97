"""A consumer that keeps what it gets, and who sends to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kombu

Connect = Callable[..., Any]


class Receiver:
    """A connection with one consumer that keeps what it gets."""

    def __init__(self, connection: Any, *queues: str, prefetch: int = 0, no_ack: bool = False) -> None:
        self.connection = connection
        self.channel = connection.channel()
        self.messages: list[Any] = []
        self.consumer = kombu.Consumer(
            self.channel,
            [kombu.Queue(name) for name in queues or ("q",)],
            on_message=self.messages.append,
            prefetch_count=prefetch,
            no_ack=no_ack,
        )
        self.consumer.consume()

    def drain(self, timeout: float = 0.0) -> list[Any]:
        """What comes within the timeout."""
        got = len(self.messages)
        try:
            self.connection.drain_events(timeout=timeout)
        except TimeoutError:
            pass
        return [message.payload for message in self.messages[got:]]


def send(connection: Any, *bodies: Any, queue: str = "q", **options: Any) -> None:
    producer = connection.Producer()
    for body in bodies:
        producer.publish(body, routing_key=queue, **options)


def size(connection: Any, queue: str = "q") -> int:
    return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
