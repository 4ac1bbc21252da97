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


@pytest.fixture
def asked(connect: Call, send: Call, hub: Any) -> Worker:
    """A worker that has asked for ten messages, and has not looked at the answer."""
    worker = Worker(connect(), hub, prefetch=20, ack=False)
    worker.consumer.channel.exchange_by(5)
    transport = worker.connection.transport
    worker.run(lambda: transport._link is not None and transport._asked is None)
    send(connect(), *range(10))
    transport.expect_more()
    transport._on_tick()
    assert transport._asked is not None
    assert worker.got == []
    return worker


def test_where_there_is_enough_to_go_on_with_a_fetch_is_not_waited_for(asked: Worker) -> None:
    asked.run(lambda: len(asked.got) == 10)
    assert asked.got == list(range(10))


@pytest.mark.parametrize("what", ["renew", "flush", "restore"])
def test_what_was_asked_for_is_taken_before_anything_else_is_done(asked: Worker, what: str) -> None:
    transport = asked.connection.transport
    getattr(transport, what)()
    if what != "flush":  # there was nothing to flush
        assert transport._asked is None
    asked.run(lambda: len(asked.got) == 10)
    for message in asked.messages:
        message.ack()
    transport.flush()
    assert transport.statistics().held == 0


@pytest.mark.parametrize("what", ["channel", "connection", "consumer"])
def test_what_was_asked_for_goes_back_where_nobody_wants_it_any_more(asked: Worker, what: str, server: Any) -> None:
    if what == "channel":
        asked.consumer.channel.close()
    elif what == "connection":
        asked.connection.close()
    else:
        asked.consumer.cancel()
        asked.run(lambda: asked.connection.transport._asked is None)
    assert server.llen("q") == 10
    assert not server.exists("unacked", "unacked_index", "wk:1:holders", "wk:1:attempts")
    assert asked.got == []


def test_a_connection_that_is_lost_with_a_fetch_under_way_leaves_it_to_others(
    asked: Worker, connect: Call, receive: Call, server: Any, until: Call
) -> None:
    until(lambda: server.hlen("unacked") == 10, "the fetch to have been done")
    asked.connection.collect()
    server.delete(*server.keys("wk:1:owner:*"))  # as if its lease had run out
    assert sorted(receive(connect()).drain(10.0)) == list(range(10))


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
