"""Messages for later: many at a time, none of them lost, and nobody's place taken by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kombu
import pytest

Call = Callable[..., Any]
LATER = 1000.0  # seconds


class Parks:
    """A consumer that parks each message whose body is a text, and keeps the others."""

    def __init__(self, connection: Any, prefetch: int) -> None:
        self.connection = connection
        self.transport = connection.transport
        self.kept: list[Any] = []
        self.fetches: list[int] = []
        self.consumer = kombu.Consumer(
            connection.channel(), [kombu.Queue("q")], on_message=self._take, prefetch_count=prefetch
        )
        self.consumer.consume()
        queues = self.transport.queues
        answer = queues.answer

        def counted(*args: Any) -> Any:
            batch = answer(*args)
            self.fetches.append(len(batch.deliveries))
            return batch

        queues.answer = counted

    def _take(self, message: Any) -> None:
        if isinstance(message.payload, str):
            message.park(LATER)
        else:
            self.kept.append(message.payload)

    def drain(self) -> None:
        """Until nothing comes."""
        try:
            while True:
                self.connection.drain_events(timeout=0)
        except TimeoutError:
            pass


def test_where_all_is_parked_each_fetch_brings_more(connect: Call, send: Call, server: Any) -> None:
    send(connect(), *["later"] * 300)
    worker = Parks(connect(), prefetch=2)
    worker.drain()
    assert worker.fetches[:6] == [2, 6, 14, 30, 62, 126]
    assert len(worker.fetches) < 12
    assert server.zcard("wk:1:delayed") == 300
    assert not server.exists("q", "unacked", "unacked_index", "wk:1:attempts", "wk:1:holders")


def test_what_was_fetched_beyond_the_room_goes_back_as_if_it_had_never_been(
    connect: Call, send: Call, receive: Call, server: Any
) -> None:
    send(connect(), *["later"] * 25, *range(40))
    worker = Parks(connect(), prefetch=2)
    worker.drain()
    assert worker.kept == [0, 1]
    assert server.hlen("unacked") == 2
    assert not server.exists("wk:1:attempts")
    assert server.zcard("wk:1:delayed") == 25
    other = receive(connect())
    assert other.drain() == list(range(2, 40))
    assert {message.attempts for message in other.messages} == {0}


def test_a_message_that_is_not_parked_ends_it(connect: Call, send: Call) -> None:
    send(connect(), *["later"] * 6, 1, *["later"] * 40)
    worker = Parks(connect(), prefetch=3)
    worker.drain()
    assert worker.kept == [1]
    assert worker.fetches[:3] == [3, 9, 2]


def test_what_is_parked_comes_as_it_was_sent(connect: Call, send: Call, receive: Call, server: Any) -> None:
    send(connect(), 1)
    receiver = receive(connect())
    receiver.drain()
    receiver.messages[0].park(0)
    assert receiver.drain(5.0) == [1]
    assert not receiver.messages[1].delivery_info["redelivered"]
    assert receiver.messages[1].attempts == 0


def test_what_a_lost_connection_has_not_parked_yet_comes_back(
    connect: Call, send: Call, receive: Call, server: Any
) -> None:
    send(connect(), 1, 2)
    lost = connect("?lease=0.5")
    receiver = receive(lost, prefetch=2)
    receiver.drain()
    for message in receiver.messages:
        message.park(LATER)
    lost.collect()
    assert not server.exists("wk:1:delayed")
    other = receive(connect("?lease=0.5"))
    while len(other.messages) < 2:
        other.drain(1.0)
    assert [message.attempts for message in other.messages] == [1, 1]


def test_parking_that_comes_too_late_is_refused_and_logged(
    connect: Call, send: Call, receive: Call, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    send(connect(), 1)
    receiver = receive(connect())
    receiver.drain()
    receiver.messages[0].park(LATER)
    server.delete("unacked")
    assert receiver.drain() == []
    assert "refused a late park" in caplog.text
    assert not server.exists("wk:1:delayed")


@pytest.mark.parametrize("parked", [1, 300, 2000])
def test_a_kill_leaves_each_message_in_one_place(
    connect: Call, send: Call, spawn: Call, url: str, server: Any, until: Call, parked: int
) -> None:
    count = 4000
    send(connect(), *["later"] * count)
    child = spawn("park", url)
    until(lambda: server.zcard("wk:1:delayed") >= parked, "some to be parked")
    child.process.kill()
    child.process.wait()
    # In one step: the server may still be reading what it was sent last.
    assert sum(server.pipeline(transaction=True).llen("q").hlen("unacked").zcard("wk:1:delayed").execute()) == count
