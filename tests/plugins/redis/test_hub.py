"""The transport on an event loop: kombu's own Hub."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest
from kombu.asynchronous import Hub

Call = Callable[..., Any]


@pytest.fixture
def hub() -> Iterator[Any]:
    hub = Hub()
    yield hub
    hub.timer.stop()
    hub.close()


class Worker:
    """A consumer on a hub."""

    def __init__(self, connection: Any, hub: Any, prefetch: int = 4, ack: bool = True) -> None:
        self.connection, self.hub, self.ack = connection, hub, ack
        self.got: list[Any] = []
        self.messages: list[Any] = []
        connection.register_with_event_loop(hub)
        self.consumer = connection.Consumer([kombu.Queue("q")], on_message=self.receive, prefetch_count=prefetch)
        self.consumer.consume()

    def receive(self, message: Any) -> None:
        self.got.append(message.payload)
        self.messages.append(message)
        if self.ack:
            message.ack()

    def run(self, until: Callable[[], object], seconds: float = 15.0) -> None:
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, self.got
            self.hub.run_once()


def test_what_was_there_before_and_what_comes_later_is_delivered(connect: Call, send: Call, hub: Any) -> None:
    other = connect()
    send(other, 1)
    worker = Worker(connect(), hub)
    worker.run(lambda: worker.got == [1])
    begin = time.monotonic()
    send(other, 2)
    worker.run(lambda: worker.got == [1, 2])
    assert time.monotonic() - begin < 0.9  # sooner than any timer


def test_more_than_fits_the_prefetch_comes_without_pause(connect: Call, send: Call, hub: Any) -> None:
    send(connect(), *range(50))
    worker = Worker(connect(), hub, prefetch=4)
    begin = time.monotonic()
    worker.run(lambda: len(worker.got) == 50)
    assert worker.got == list(range(50))
    assert time.monotonic() - begin < 2.0  # a loop that blocks between two batches takes a second for each


def test_a_full_batch_without_prefetch_is_followed_by_the_next(connect: Call, send: Call, hub: Any) -> None:
    send(connect(), *range(250))
    worker = Worker(connect(), hub, prefetch=0)
    begin = time.monotonic()
    worker.run(lambda: len(worker.got) == 250)
    assert time.monotonic() - begin < 2.0


def test_acknowledgements_are_flushed_within_the_tick(connect: Call, send: Call, hub: Any, server: Any) -> None:
    send(connect(), 1)
    worker = Worker(connect(), hub)
    worker.run(lambda: worker.got)
    assert not server.exists("unacked")


def test_an_acknowledgement_from_outside_of_the_tick_wakes_the_loop(connect: Call, send: Call, hub: Any) -> None:
    send(connect(), 1, 2)
    worker = Worker(connect(), hub, prefetch=1, ack=False)
    worker.run(lambda: worker.got == [1])
    hub.run_once()
    worker.messages[0].ack()
    begin = time.monotonic()
    worker.run(lambda: worker.got == [1, 2])
    assert time.monotonic() - begin < 0.9


def test_the_lease_is_renewed_while_a_message_is_held(connect: Call, send: Call, hub: Any, receive: Call) -> None:
    send(connect(), 1)
    worker = Worker(connect("?lease=0.5"), hub, prefetch=1, ack=False)
    idle = receive(connect("?lease=0.5"))
    begin = time.monotonic()
    worker.run(lambda: time.monotonic() - begin > 1.5)
    assert worker.got == [1]
    assert idle.drain() == []


def test_a_message_is_delivered_when_it_is_due(connect: Call, send: Call, hub: Any) -> None:
    send(connect(), 1)
    worker = Worker(connect(), hub, ack=False)
    worker.run(lambda: worker.got)
    worker.messages[0].park(0.3)
    begin = time.monotonic()
    worker.run(lambda: len(worker.got) == 2)
    assert 0.2 < time.monotonic() - begin < 2.0


def test_broadcasts_are_heard_on_the_loop(connect: Call, hub: Any) -> None:
    news = kombu.Exchange("news", "fanout")
    connection = connect()
    worker = Worker(connection, hub)
    heard: list[Any] = []
    consumer = connection.Consumer(
        [kombu.Queue("mine", news, auto_delete=True)], callbacks=[lambda body, message: heard.append(body)], no_ack=True
    )
    consumer.consume()
    hub.run_once()
    connect().Producer().publish({"n": 1}, exchange=news, declare=[news])
    worker.run(lambda: heard)
    assert heard == [{"n": 1}]


def test_a_connection_that_leaves_the_loop_is_drained_by_hand(connect: Call, send: Call, hub: Any) -> None:
    worker = Worker(connect(), hub)
    hub.run_once()
    worker.connection.transport.unregister_from_event_loop(worker.connection.connection, hub)
    assert not hub.readers
    assert not hub.on_tick
    send(connect(), 1)
    worker.connection.drain_events(timeout=5)
    assert worker.got == [1]


def test_a_link_that_breaks_ends_the_loop_with_a_connection_error(connect: Call, hub: Any, server: Any) -> None:
    worker = Worker(connect(client_name="victim"), hub)
    hub.run_once()
    for client in server.client_list():
        if client["name"] == "victim":
            server.client_kill(client["addr"])
    with pytest.raises(worker.connection.connection_errors):
        worker.run(lambda: False)
    worker.connection.collect()


def test_what_fires_after_the_close_does_nothing(connect: Call, hub: Any) -> None:
    connection = connect()
    worker = Worker(connection, hub)
    hub.run_once()
    (tick,) = hub.on_tick
    transport = connection.transport
    for fd in list(hub.readers):
        hub.remove_reader(fd)
    connection.release()
    tick()
    transport._on_readable()
    transport.expect_more()
    assert transport._link is None
    assert worker.got == []
