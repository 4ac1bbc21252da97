"""The transport as kombu's users see it, within one process."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any

import kombu
import pytest
import redis
from kombu.exceptions import MessageStateError

from worker_broker_redis.transport import TransportStatistics
from worker_kernel import QUARANTINED_AT_HEADER

Call = Callable[..., Any]


def nothing_held(server: Any) -> bool:
    return not server.exists("unacked", "unacked_index", "wk:1:attempts", "wk:1:holders") and not server.keys(
        "wk:1:held:*"
    )


def test_a_first_delivery_says_that_it_is_one(connect: Call, send: Call, receive: Call) -> None:
    send(connect(), 1)
    receiver = receive(connect())
    receiver.drain()
    (message,) = receiver.messages
    assert message.attempts == 0
    assert message.queue == "q"
    assert message.delivery_info["redelivered"] is False
    assert message.delivery_info["routing_key"] == "q"
    assert message.fence.authority == receiver.connection.transport.address.authority
    assert not message.lease_lost


def test_an_acknowledged_message_is_gone_after_the_flush(connect: Call, send: Call, receive: Call, server: Any) -> None:
    send(connect(), 1, 2)
    receiver = receive(connect())
    receiver.drain()
    for message in receiver.messages:
        message.ack()
    assert server.hlen("unacked") == 2
    receiver.connection.transport.flush()
    assert nothing_held(server)
    assert not server.exists("q")


def test_acknowledgements_are_flushed_by_the_next_drain_and_at_close(
    connect: Call, send: Call, receive: Call, server: Any
) -> None:
    send(connect(), 1, 2)
    receiver = receive(connect(), prefetch=1)
    receiver.drain()
    receiver.messages[0].ack()
    assert receiver.drain() == [2]
    assert server.hlen("unacked") == 1
    receiver.messages[1].ack()
    receiver.connection.release()
    assert nothing_held(server)


def test_a_closed_connection_leaves_no_key_behind_and_its_messages_in_order(
    connect: Call, send: Call, receive: Call, server: Any
) -> None:
    send(connect(), 1, 2, 3)
    receiver = receive(connect(), prefetch=2)
    receiver.drain()
    receiver.connection.release()
    assert server.keys() == [b"q"]
    again = receive(connect())
    assert again.drain() == [1, 2, 3]
    assert [message.attempts for message in again.messages] == [0, 0, 0]
    assert [message.delivery_info["redelivered"] for message in again.messages] == [True, True, False]


def test_the_statistics_tell_what_is_in_hand(connect: Call, send: Call, receive: Call, plain: str) -> None:
    send(connect(), 1, 2)
    receiver = receive(connect())
    receiver.drain()
    receiver.messages[0].ack()
    assert receiver.connection.transport.statistics() == TransportStatistics(
        server=plain, held=1, lost=0, undelivered=0, unflushed=1
    )


def test_multiple_acknowledges_all_that_came_before(connect: Call, send: Call, receive: Call, server: Any) -> None:
    send(connect(), 1, 2, 3)
    receiver = receive(connect())
    receiver.drain()
    receiver.messages[1].ack(multiple=True)
    receiver.connection.transport.flush()
    assert server.hlen("unacked") == 1


def test_a_hand_back_is_taken_next_and_is_marked(connect: Call, send: Call, receive: Call) -> None:
    send(connect(), 1, 2)
    receiver = receive(connect(), prefetch=1)
    receiver.drain()
    receiver.messages[0].requeue()
    assert receiver.drain() == [1]
    again = receiver.messages[-1]
    assert again.delivery_info["redelivered"] is True
    assert again.attempts == 0


def test_a_rejected_message_is_gone(connect: Call, send: Call, receive: Call, server: Any) -> None:
    send(connect(), 1)
    receiver = receive(connect())
    receiver.drain()
    receiver.messages[0].reject()
    receiver.connection.transport.flush()
    assert nothing_held(server)


def test_the_prefetch_count_limits_what_is_held(connect: Call, send: Call, receive: Call) -> None:
    send(connect(), 1, 2, 3)
    receiver = receive(connect(), prefetch=2)
    assert receiver.drain() == [1, 2]
    assert receiver.drain() == []
    receiver.channel.basic_qos(prefetch_count=3)
    assert receiver.drain() == [3]


def test_changes_are_asked_for_only_where_little_is_left(
    connect: Call, send: Call, receive: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = connect()
    send(sender, *range(350))
    receiver = receive(connect())
    transport = receiver.connection.transport
    transport.BATCH = 100
    ask, answer = transport.queues.ask, transport.queues.answer
    watched: list[bool] = []
    brought: list[int] = []

    def asked(*args: Any, **kwargs: Any) -> None:
        watched.append(kwargs["watching"])
        ask(*args, **kwargs)

    def answered(*args: Any) -> Any:
        batch = answer(*args)
        brought.append(len(batch.deliveries))
        return batch

    monkeypatch.setattr(transport.queues, "ask", asked)
    monkeypatch.setattr(transport.queues, "answer", answered)
    while receiver.drain():
        pass
    assert brought == [100, 100, 100, 50]
    assert watched == [True, False, False, True]
    transport.SAFETY_NET = 60.0
    send(sender, "later")
    assert receiver.drain(30.0) == ["later"]


def test_a_parked_message_comes_back_after_its_time(connect: Call, send: Call, receive: Call, server: Any) -> None:
    send(connect(), 1, priority=6)
    receiver = receive(connect())
    receiver.drain()
    receiver.messages[0].park(0.3)
    assert receiver.messages[0].acknowledged
    assert receiver.drain() == []
    assert nothing_held(server)
    begin = time.monotonic()
    assert receiver.drain(5.0) == [1]
    assert 0.2 < time.monotonic() - begin < 2.0
    assert receiver.messages[1].attempts == 0
    assert receiver.messages[1].properties["priority"] == 6
    assert not server.exists("wk:1:delayed")


def test_another_consumer_takes_what_one_that_has_left_had_parked(connect: Call, send: Call, receive: Call) -> None:
    send(connect(), 1, 2)
    first = receive(connect(), prefetch=2)
    first.drain()
    second = receive(connect(), prefetch=2)
    assert second.drain() == []
    first.messages[1].park(0.4)
    first.messages[0].park(0.2)
    first.connection.release()
    assert second.drain(5.0) == [1]
    assert second.drain(5.0) == [2]


def test_what_became_due_earlier_is_taken_earlier(connect: Call, send: Call, receive: Call, server: Any) -> None:
    send(connect(), 1, 2, 3)
    receiver = receive(connect(), prefetch=3)
    receiver.drain()
    for message, seconds in zip(receiver.messages, (300, 100, 200), strict=True):
        message.park(seconds)
    assert receiver.drain() == []
    for member, due in server.zrange("wk:1:delayed", 0, -1, withscores=True):
        server.zadd("wk:1:delayed", {member: due - 1000})
    assert receiver.drain(10.0) == [2, 3, 1]


def test_what_is_parked_for_ever_stays(connect: Call, send: Call, receive: Call, server: Any) -> None:
    send(connect(), 1)
    receiver = receive(connect())
    receiver.drain()
    receiver.messages[0].park(float("inf"))
    assert receiver.drain(0.1) == []
    assert server.zcard("wk:1:delayed") == 1


def test_a_purge_takes_what_is_parked_and_leaves_what_is_held(
    connect: Call, send: Call, receive: Call, server: Any
) -> None:
    sender = connect()
    send(sender, 1, 2, priority=6, queue="q[1]*")
    send(sender, 3, 4, queue="q[1]*")
    send(sender, 5, queue="q1")
    for queue, many in (("q[1]*", 3), ("q1", 1)):
        receiver = receive(connect(), queue, prefetch=many)
        for _ in receiver.drain():
            pass
        for message in receiver.messages[:2]:
            message.park(1000)
        receiver.connection.transport.flush()
    assert server.zcard("wk:1:delayed") == 3
    assert sender.default_channel.queue_purge("q[1]*") == 3
    assert server.zcard("wk:1:delayed") == server.hlen("unacked") == 1
    assert not server.exists("q[1]*", "q[1]*\x06\x166")


def test_a_quarantined_message_lies_unread_in_its_place_with_the_reason(
    connect: Call, send: Call, receive: Call, server: Any
) -> None:
    send(connect(), {"n": 1}, headers={"id": "t"})
    receiver = receive(connect())
    receiver.drain()
    receiver.messages[0].quarantine("poison")
    assert nothing_held(server)
    moved = connect().default_channel.basic_get("q.quarantine")
    assert moved.payload == {"n": 1}
    assert moved.headers.pop(QUARANTINED_AT_HEADER) == pytest.approx(time.time(), abs=60)
    assert moved.headers == {"id": "t", "x-kernel-quarantine": "poison"}


def test_browsing_shows_what_lies_in_a_queue_in_its_order_and_takes_nothing(
    connect: Call, send: Call, server: Any
) -> None:
    connection = connect()
    send(connection, 3, priority=9)
    send(connection, 1, 2)
    server.lpush("q", b"{")
    before = {key: server.lrange(key, 0, -1) for key in ("q", "q\x06\x169")}
    found = connection.default_channel.browse("q")
    assert [message.damaged or message.payload for message in found] == [1, 2, True, 3]
    assert {key: server.lrange(key, 0, -1) for key in ("q", "q\x06\x169")} == before
    assert nothing_held(server)
    for message in (found[1], found[2]):
        message.ack()
    assert [message.payload for message in connection.default_channel.browse("q")] == [1, 3]


def test_a_message_is_settled_once(connect: Call, send: Call, receive: Call) -> None:
    send(connect(), 1)
    receiver = receive(connect())
    receiver.drain()
    receiver.messages[0].ack()
    for settle, *arguments in (("park", 1), ("quarantine", "x"), ("ack",), ("reject",)):
        with pytest.raises(MessageStateError):
            getattr(receiver.messages[0], str(settle))(*arguments)


def test_compression_is_undone_when_the_body_is_asked_for_and_not_before(
    connect: Call, send: Call, receive: Call
) -> None:
    send(connect(), "x" * 1000, compression="zlib")
    receiver = receive(connect())
    receiver.connection.drain_events(timeout=0)
    (message,) = receiver.messages
    assert len(message.raw_body) < 100
    assert message.payload == "x" * 1000
    assert message.body is message.body


def test_without_acknowledgement_messages_are_gone_once_delivered(
    connect: Call, send: Call, receive: Call, server: Any
) -> None:
    send(connect(), 1)
    assert receive(connect(), no_ack=True).drain() == [1]
    assert nothing_held(server)


def test_direct_access_takes_one_message_or_none(connect: Call, send: Call, server: Any) -> None:
    other = connect()
    channel = other.channel()
    assert channel.basic_get("q") is None
    send(other, 1, 2)
    assert channel.basic_get("q", no_ack=True).payload == 1
    held = channel.basic_get("q")
    other.transport.flush()
    assert server.hlen("unacked") == 1
    held.ack()
    other.transport.flush()
    assert nothing_held(server)


def test_a_cancelled_consumer_keeps_what_it_holds(connect: Call, send: Call, receive: Call, server: Any) -> None:
    send(connect(), 1, 2)
    receiver = receive(connect(), prefetch=1)
    receiver.drain()
    receiver.consumer.cancel()
    assert receiver.drain(0.1) == []
    assert server.hlen("unacked") == 1
    receiver.messages[0].ack()
    receiver.connection.transport.flush()
    assert nothing_held(server)


def test_a_consumer_that_cancels_another_leaves_what_was_fetched_for_it(connect: Call, send: Call, server: Any) -> None:
    send(connect(), 1, queue="a")
    send(connect(), 2, queue="b")
    connection = connect()
    channel = connection.channel()
    got: list[Any] = []
    other = kombu.Consumer(channel, [kombu.Queue("b")], on_message=got.append)

    def first(message: Any) -> None:
        got.append(message.payload)
        other.cancel()

    kombu.Consumer(channel, [kombu.Queue("a")], on_message=first).consume()
    other.consume()
    connection.drain_events(timeout=5)
    assert got == [1]
    assert server.llen("b") == 1
    assert server.hlen("unacked") == 1


def test_a_message_that_was_lost_before_its_delivery_is_not_delivered(
    connect: Call, send: Call, receive: Call, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    send(connect(), 1, 2)
    receiver = receive(connect())
    transport = receiver.connection.transport

    def first(message: Any) -> None:
        receiver.messages.append(message)
        server.delete("unacked")  # all of it is somebody else's now
        transport.renew()

    receiver.channel.callbacks["q"] = first
    assert receiver.drain() == [1]
    assert receiver.drain(0.1) == []
    assert receiver.messages[0].lease_lost
    assert caplog.text.count("refused a late renewal") == 2
    receiver.messages[0].requeue()
    assert not server.exists("q")


def test_a_forked_child_holds_nothing_and_settles_nothing(
    connect: Call, send: Call, receive: Call, server: Any
) -> None:
    send(connect(), 1)
    receiver = receive(connect())
    receiver.drain()
    receiver.messages[0].ack()
    transport = receiver.connection.transport
    child = os.fork()
    if child == 0:
        status = 1
        try:
            transport.flush()
            transport.close_connection(receiver.connection.connection)
            status = 0 if transport.statistics().held == 0 else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert server.hlen("unacked") == 1
    transport.flush()
    assert nothing_held(server)


def test_what_a_lost_connection_held_comes_back_with_its_start_counted(
    connect: Call, send: Call, receive: Call, caplog: pytest.LogCaptureFixture
) -> None:
    send(connect(), 1, 2, 3)
    lost = receive(connect("?lease=0.5"))
    assert lost.drain() == [1, 2, 3]
    lost.connection.collect()
    receiver = receive(connect("?lease=0.5"))
    got: list[Any] = []
    deadline = time.monotonic() + 20
    while len(got) < 3 and time.monotonic() < deadline:
        got += receiver.drain(1.0)
    assert got == [1, 2, 3]
    assert [message.attempts for message in receiver.messages] == [1, 1, 1]
    assert "are back in their queues" in caplog.text
    # A task that runs on is the same process's still: its result counts.
    assert receiver.messages[0].fence == lost.messages[0].fence


def test_a_connection_sends_all_its_messages_with_one_client(
    connect: Call, receive: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    make = redis.Redis.__init__

    def counting(self: Any, *args: Any, **options: Any) -> None:
        made.append(self)
        make(self, *args, **options)

    connection = connect()
    producer = connection.Producer()
    producer.publish(1, routing_key="q")
    monkeypatch.setattr(redis.Redis, "__init__", counting)
    for number in (2, 3):
        producer.publish(number, routing_key="q")
    assert made == []
    assert receive(connect()).drain(5.0) == [1, 2, 3]


def test_each_connection_says_which_library_it_is(connect: Call, server: Any) -> None:
    connect(client_name="introduced").transport.link  # noqa: B018  (connects)
    said = {client.get("lib-ver") for client in server.client_list() if client["name"] == "introduced"}
    assert said <= {redis.__version__, "", None}, "servers older than 7.2 do not keep it"
    assert said


def test_a_connection_that_was_closed_while_nothing_was_sent_is_made_anew(
    connect: Call, send: Call, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_broker_redis.connections._IDLE", 0.0)
    connection = connect()
    send(connection, 1)
    connection.transport._sender._connection._connection._sock.shutdown(socket.SHUT_RDWR)
    send(connection, 2)
    assert server.llen("q") == 2


def test_what_kombu_s_encoder_alone_can_write_is_written(connect: Call, receive: Call) -> None:
    connection = connect()
    connection.Producer().publish(
        1, routing_key="q", headers={"when": uuid.UUID(int=1)}, declare=[kombu.Queue("q")], serializer="json"
    )
    receiver = receive(connection)
    receiver.drain()
    assert "00000000-0000-0000-0000-000000000001" in str(receiver.messages[0].headers["when"])
