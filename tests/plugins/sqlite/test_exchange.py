"""Fetching and flushing several messages at a time, for who has enough to go on with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.plugins.sqlite.receiving import Receiver, send, size

Connect = Callable[..., Any]


def test_there_is_no_fetch_before_there_is_room_for_as_many_as_are_worth_one(connect: Connect) -> None:
    send(connect(), *range(10))
    receiver = Receiver(connect(), prefetch=4)
    receiver.channel.exchange_by(3)
    assert receiver.drain() == [0, 1, 2, 3]
    for message in receiver.messages[:2]:
        message.ack()
    assert receiver.drain() == [], "there is room for two"
    receiver.messages[2].ack()
    assert receiver.drain() == [4, 5, 6]


def test_no_more_are_waited_for_than_are_allowed(connect: Connect) -> None:
    send(connect(), 1, 2)
    receiver = Receiver(connect(), prefetch=1)
    receiver.channel.exchange_by(50)
    assert receiver.drain() == [1]
    receiver.messages[0].ack()
    assert receiver.drain() == [2]


def test_what_is_settled_waits_for_more_but_not_for_long(connect: Connect) -> None:
    sender = connect()
    send(sender, 1, 2, 3)
    receiver = Receiver(connect(), prefetch=3)
    receiver.channel.exchange_by(3)
    receiver.drain()
    transport = receiver.connection.transport
    transport.TOGETHER = 3600.0
    receiver.messages[0].ack()
    receiver.drain()
    assert transport.statistics().unflushed == 1
    transport.flush()
    transport.TOGETHER = 0.01
    receiver.messages[1].ack()
    receiver.drain(timeout=0.1)
    assert transport.statistics().unflushed == 0
    assert size(sender) == 0


def test_one_at_a_time_is_the_default_and_comes_back(connect: Connect) -> None:
    send(connect(), *range(4))
    receiver = Receiver(connect(), prefetch=2)
    receiver.channel.exchange_by(2)
    receiver.drain()
    receiver.messages[0].ack()
    assert receiver.drain() == []
    receiver.channel.exchange_by(1)
    assert receiver.drain() == [2]
    assert receiver.connection.transport.statistics().unflushed == 0
