"""The transport as kombu's users see it, within one process."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import kombu
import pytest
import redis
from amqp.exceptions import RecoverableConnectionError
from kombu.exceptions import MessageStateError

from worker_broker_redis.address import InvalidUrl
from worker_broker_redis.link import Link
from worker_broker_redis.transport import TransportStatistics

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


def test_a_parked_message_comes_back_after_its_time(connect: Call, send: Call, receive: Call, server: Any) -> None:
    send(connect(), 1, priority=6)
    receiver = receive(connect())
    receiver.drain()
    receiver.messages[0].park(0.3)
    assert receiver.messages[0].acknowledged
    assert nothing_held(server)
    assert receiver.drain() == []
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


def test_what_is_parked_for_ever_stays(connect: Call, send: Call, receive: Call, server: Any) -> None:
    send(connect(), 1)
    receiver = receive(connect())
    receiver.drain()
    receiver.messages[0].park(float("inf"))
    assert receiver.drain(0.1) == []
    assert server.zcard("wk:1:delayed") == 1


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
    assert moved.headers == {"id": "t", "x-kernel-quarantine": "poison"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"properties": 3}',
        b'{"properties": {}}',
        b'{"properties": {"delivery_tag": 7}}',
    ],
    ids=["empty", "open", "null", "list", "text", "bytes", "nested", "number", "no tag", "no text"],
)
def test_an_entry_that_is_no_message_goes_as_it_is_to_quarantine_and_the_rest_goes_on(
    connect: Call, send: Call, receive: Call, server: Any, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    other = connect()
    server.lpush("q", raw)
    send(other, "good")
    receiver = receive(connect(), prefetch=1)
    assert receiver.drain() == ["good"]
    assert server.lrange("q.quarantine", 0, -1) == [raw]
    assert "is kept as it is in q.quarantine" in caplog.text
    receiver.messages[0].ack()
    receiver.connection.transport.flush()
    assert nothing_held(server)


@pytest.mark.parametrize(
    "change",
    [
        {"headers": 3},
        {"body": "a"},
        {"body": 7},
        {"body": "x", "properties": {"delivery_tag": "t", "body_encoding": "rot13"}},
        {"headers": {"eta": {"__type__": "datetime", "__value__": "never"}}},
    ],
)
def test_an_envelope_that_cannot_be_opened_goes_to_quarantine_with_the_reason(
    connect: Call, send: Call, receive: Call, server: Any, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    other = connect()
    envelope = {"body": "", "headers": {}, "properties": {"delivery_tag": "t", "body_encoding": "base64"}, **change}
    server.lpush("q", json.dumps(envelope))
    send(other, "good")
    receiver = receive(connect())
    assert receiver.drain() == ["good"]
    (moved,) = (json.loads(raw) for raw in server.lrange("q.quarantine", 0, -1))
    assert moved["headers"]["x-kernel-quarantine"].startswith("damaged")
    assert moved.get("body") == envelope["body"]
    assert "goes to quarantine" in caplog.text


def test_a_message_without_exchange_and_routing_key_is_delivered(connect: Call, receive: Call, server: Any) -> None:
    connection = connect()
    server.lpush("q", json.dumps({"body": "x", "properties": {"delivery_tag": "t"}, "content-type": "text/plain"}))
    receiver = receive(connection)
    assert receiver.drain() == ["x"]
    assert receiver.messages[0].delivery_info == {"exchange": "", "routing_key": "q", "redelivered": False}


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


def test_a_wake_from_another_thread_ends_the_wait(connect: Call, receive: Call) -> None:
    receiver = receive(connect())
    receiver.drain()
    threading.Timer(0.1, receiver.connection.transport.wake).start()
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        receiver.connection.drain_events(timeout=30)
    assert time.monotonic() - begin < 10


def test_a_link_that_breaks_is_a_connection_error_and_stays_one(
    connect: Call, send: Call, receive: Call, server: Any
) -> None:
    send(connect(), 1)
    receiver = receive(connect(client_name="victim"))
    receiver.drain()
    for client in server.client_list():
        if client["name"] == "victim":
            server.client_kill(client["addr"])
    for _ in range(2):
        with pytest.raises(receiver.connection.connection_errors) as caught:
            receiver.connection.drain_events(timeout=5)
        assert not isinstance(caught.value, TimeoutError)
    receiver.connection.collect()
    assert server.hlen("unacked") == 1


def test_where_the_server_tells_no_changes_it_is_looked_at_every_second(
    connect: Call, send: Call, receive: Call, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refused = redis.exceptions.ResponseError("unknown subcommand 'TRACKING'")
    connection = connect()
    link = connection.transport.link
    call = link._commands.call
    monkeypatch.setattr(
        link._commands, "call", lambda *commands: [refused] if "TRACKING" in commands[0] else call(*commands)
    )
    receiver = receive(connection)
    assert receiver.drain() == []
    assert not link.watches
    assert "looked at every second" in caplog.text
    send(connect(), 1)
    assert receiver.drain(10.0) == [1]


def test_a_script_that_the_server_has_forgotten_is_sent_again(
    connect: Call, send: Call, receive: Call, server: Any
) -> None:
    receiver = receive(connect())
    receiver.drain()
    server.script_flush()
    send(connect(), 1)
    assert receiver.drain(5.0) == [1]


def test_nothing_is_told_of_keys_that_were_not_watched(connect: Call, server: Any) -> None:
    transport = connect().transport
    link = Link(transport.pool)
    link.watch()
    assert link.watches
    transport.queues.fetch(link, [("q", "q")], width=1, limit=1, watching=True)
    server.set("other", 1)
    for key in ("unacked", "wk:1:attempts", "wk:1:holders"):
        server.hset(key, "x", "y")
    assert not link.drain()
    server.lpush("q", "{")
    deadline = time.monotonic() + 10
    while not link.drain():
        assert time.monotonic() < deadline
    link.close()


def test_a_closed_channel_settles_nothing(connect: Call, send: Call, receive: Call) -> None:
    send(connect(), 1)
    receiver = receive(connect())
    receiver.drain()
    receiver.channel.close()
    with pytest.raises(RecoverableConnectionError):
        receiver.messages[0].ack()


def test_options_that_mean_nothing_here_are_told_and_impossible_ones_refused(
    url: str, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with kombu.Connection(url, transport_options={"retry_on_timeout": True, "lease": 7}) as connection:
        assert connection.transport.address.lease == 7.0
    assert "retry_on_timeout" in caplog.text
    assert "lease" not in caplog.text
    with pytest.raises(InvalidUrl):
        kombu.Connection(url, transport_options={"ack_emulation": False}).connect()


def test_a_connection_that_only_sends_has_no_link_and_owns_nothing(connect: Call, send: Call, server: Any) -> None:
    connection = connect()
    send(connection, 1)
    assert connection.transport._link is None
    connection.release()
    assert server.keys() == [b"q"]


def test_the_password_is_not_shown(url: str, server: Any) -> None:
    with_password = url.replace("://", "://user:secret@")
    with kombu.Connection(with_password) as connection:
        assert "secret" not in connection.as_uri()
        assert connection.as_uri(include_password=True) == with_password


def test_a_failover_takes_the_alternate(url: str, server: Any, receive: Call, send: Call) -> None:
    connection = kombu.Connection("wk-redis://127.0.0.1:1/0", alternates=[url])
    with connection:
        connection.ensure_connection(max_retries=3, interval_start=0)
        send(connection, 1)
        assert receive(connection).drain() == [1]


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
