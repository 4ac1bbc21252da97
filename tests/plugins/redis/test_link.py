"""Connections: waiting, losing them, and what they are told to be."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest
import redis
from amqp.exceptions import RecoverableConnectionError
from tests.system.proxy import Proxy

from worker_broker_redis.address import Address, InvalidUrl
from worker_broker_redis.connections import Exclusive, pool
from worker_broker_redis.link import Link

Call = Callable[..., Any]


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


@pytest.fixture
def proxy(server: Any) -> Iterator[Proxy]:
    proxy = Proxy(6379)
    yield proxy
    proxy.close()


def test_a_connection_for_wake_ups_that_falls_silent_is_a_lost_one(
    server: Any, number: int, proxy: Proxy, until: Call
) -> None:
    connections = pool(Address.from_url(f"redis://127.0.0.1:{proxy.port}/{number}"))
    link = Link(connections)
    assert link.probe(0.0) is False  # nothing to ask yet
    link.watch()
    for _ in range(3):
        link.probe(30.0)
        until(link.drain, "the sign of life")
    proxy.swallow()
    link.probe(30.0)
    link.probe(30.0)  # there is time yet
    with pytest.raises(redis.ConnectionError, match="silent"):
        link.probe(0.0)
    link.close()
    connections.disconnect()


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
    queue = uuid.uuid4().hex  # a key is watched in all databases at once, other tests' as well
    transport = connect().transport
    link = Link(transport.pool)
    link.watch()
    assert link.watches
    transport.queues.fetch(link, [(queue, queue)], width=1, limit=1, watching=True)
    server.set("other", 1)
    for key in ("unacked", "wk:1:attempts", "wk:1:holders"):
        server.hset(key, "x", "y")
    assert not link.drain()
    server.lpush(queue, "{")
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
    given = {"retry_on_timeout": True, "lease": 7, "max_retries": 3, "priority_steps": [0, 9]}
    with kombu.Connection(url, transport_options=given) as connection:
        assert connection.transport.address.lease == 7.0
    assert caplog.messages == ["broker_transport_options that have no meaning here: retry_on_timeout"]
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


def test_a_connection_whose_reply_is_late_is_of_no_use_any_more(server: Any, number: int) -> None:
    connections = pool(Address.from_url(f"redis://localhost:6379/{number}?socket_timeout=0.05"))
    connection = Exclusive(connections)
    with pytest.raises(redis.exceptions.TimeoutError):
        connection.call(("BLPOP", "nothing", 10))
    with pytest.raises(redis.exceptions.ConnectionError):  # or it would take the late reply for its own
        connection.call(("PING",))
    connections.disconnect()


def test_replies_are_errors_of_the_server_or_what_it_says(server: Any, number: int) -> None:
    connections = pool(Address.from_url(f"redis://localhost:6379/{number}"))
    connection = Exclusive(connections)
    refusal, missing, said, none = connection.call(
        ("NOTHING",), ("EVALSHA", "0" * 40, 0), ("ECHO", "x" * 100_000), ("GET", "none")
    )
    assert type(refusal) is redis.exceptions.ResponseError
    assert type(missing) is redis.exceptions.NoScriptError
    assert (said, none) == (b"x" * 100_000, None)
    connections.disconnect()
