"""kombu's own transports on a scope's hub, against real brokers."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kombu
import pytest

from worker_hub.hub import KombuHub
from worker_hub.scope import RecordingScope

BROKERS = ["rabbitmq", "redis"]
RECONNECTS = 100


@pytest.fixture(params=BROKERS)
def url(request: pytest.FixtureRequest, service: Callable[[str], str]) -> str:
    """The URL of a broker that answers."""
    return service(request.param)


class Generation:
    """A connection on a scope, consuming one queue."""

    def __init__(self, hub: KombuHub, url: str, queue: kombu.Queue, bodies: list[Any]) -> None:
        self.bodies = bodies
        self.scope: RecordingScope = hub.scope()
        self.connection = kombu.Connection(url, heartbeat=0)
        self.connection.connect()
        self.channel = self.connection.default_channel
        self.consumer = kombu.Consumer(self.channel, [queue], accept=["json"])
        self.consumer.register_callback(self.on_message)
        self.consumer.consume()
        self.connection.transport.register_with_event_loop(self.connection.connection, self.scope.transport_hub)

    def on_message(self, body: Any, message: Any) -> None:
        self.bodies.append(body)
        message.ack()

    def close(self) -> None:
        self.scope.drop()
        self.connection.close()


def make_queue() -> kombu.Queue:
    return kombu.Queue(f"wk-test-hub-{uuid.uuid4().hex}", durable=False, auto_delete=False)


def delete(url: str, queue: kombu.Queue) -> None:
    with kombu.Connection(url) as connection:
        queue(connection.default_channel).delete()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_messages_come_in_order_and_drop_leaves_nothing(hub: KombuHub, url: str) -> None:
    queue, bodies = make_queue(), list[Any]()
    generation = Generation(hub, url, queue, bodies)
    assert generation.scope.leftovers() > 0
    try:
        with kombu.Connection(url) as sender:
            producer = sender.Producer()
            for number in range(50):
                producer.publish({"number": number}, routing_key=queue.name, serializer="json")
        while len(bodies) < 50:
            hub.run_once(timeout=30.0)
    finally:
        generation.close()
        delete(url, queue)
    assert bodies == [{"number": number} for number in range(50)]
    assert generation.scope.leftovers() == 0
    assert hub.statistics().descriptors == 0


def test_an_idle_connection_does_not_keep_the_loop_busy(hub: KombuHub, url: str) -> None:
    queue = make_queue()
    generation = Generation(hub, url, queue, [])
    try:
        for _ in range(20):
            hub.run_once(timeout=0.2)  # what the registration brought with it
        done: list[int] = []
        hub.timers.call_later(3.0, done.append, 1)
        before = hub.statistics().turns
        while not done:
            hub.run_once()
        # kombu's Redis transport asks for something once a second; the AMQP one for nothing.
        assert hub.statistics().turns - before <= 15
    finally:
        generation.close()
        delete(url, queue)


def test_a_hundred_reconnects_leave_nothing_behind(hub: KombuHub, url: str) -> None:
    queue, bodies = make_queue(), list[Any]()
    files = 0
    try:
        for number in range(RECONNECTS):
            generation = Generation(hub, url, queue, bodies)
            generation.channel.basic_publish(
                generation.channel.prepare_message(
                    f'{{"number": {number}}}', content_type="application/json", content_encoding="utf-8"
                ),
                exchange="",
                routing_key=queue.name,
            )
            while len(bodies) <= number:
                hub.run_once(timeout=30.0)
            if number % 2:  # every other time the connection is broken before it is dropped
                generation.connection.collect()
            generation.close()
            assert generation.scope.leftovers() == 0
            if number == 1:
                files = open_files()
    finally:
        delete(url, queue)
    assert [body["number"] for body in bodies] == list(range(RECONNECTS))
    assert hub.statistics().descriptors == 0
    assert hub.statistics().scopes == 0
    assert hub.timers.next_due() is None
    assert open_files() <= files


def test_a_lost_connection_leaves_the_turn_as_an_error_of_the_connection(hub: KombuHub, rabbitmq_url: str) -> None:
    url = rabbitmq_url
    queue = make_queue()
    generation = Generation(hub, url, queue, [])
    try:
        generation.connection.connection.sock.shutdown(socket.SHUT_RD)
        with pytest.raises(generation.connection.connection_errors):
            hub.run_once(timeout=30.0)
    finally:
        generation.scope.drop()
        generation.connection.collect()
        delete(url, queue)
    assert generation.scope.leftovers() == 0
