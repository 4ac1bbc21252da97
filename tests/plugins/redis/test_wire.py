"""The same keys and envelopes as kombu's own transport, in both directions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import kombu
import pytest

Call = Callable[..., Any]


def test_kombu_receives_what_ours_sends_and_ours_what_kombu_sends(
    connect: Call, kombus: Call, send: Call, receive: Call
) -> None:
    bodies = [{"n": 1}, b"\x00raw", "text \U0001f600"]
    send(connect(), *bodies)
    theirs = receive(kombus())
    assert [theirs.drain(1.0) for _ in bodies] == [[body] for body in bodies]
    for message in theirs.messages:
        message.ack()
    send(kombus(), *bodies)
    assert receive(connect()).drain() == bodies


def test_both_write_the_same_envelope_to_the_same_key(connect: Call, kombus: Call, send: Call, server: Any) -> None:
    for sender in (connect(), kombus()):
        send(sender, {"n": 1}, priority=6, headers={"id": "t"}, correlation_id="t", compression="zlib")
    assert server.keys() == [b"q\x06\x166"]
    ours, theirs = (json.loads(raw) for raw in server.lrange("q\x06\x166", 0, -1))
    for envelope in (ours, theirs):
        assert len(envelope["properties"].pop("delivery_tag")) == 36
    assert ours == theirs


def test_priorities_are_kombus(connect: Call, kombus: Call, send: Call, receive: Call) -> None:
    expected = ["0", "2", "3", "5", "6", "8", "9"]  # steps of 3; within a step by age
    for sender, receiver in ((kombus(), connect()), (connect(), kombus())):
        for priority in ("9", "6", "8", "3", "5", "0", "2"):
            send(sender, priority, priority=int(priority))
        consumer = receive(receiver)
        got: list[Any] = []
        while len(got) < len(expected):
            got += consumer.drain(1.0)
        assert got == expected
        for message in consumer.messages:
            message.ack()


def test_within_a_priority_the_queues_take_turns(connect: Call, kombus: Call, send: Call, receive: Call) -> None:
    other = kombus()
    send(other, "a1", "a2", "a3", queue="a")
    send(other, "b1", queue="b")
    send(other, "b0", queue="b", priority=9)
    assert receive(connect(), "a", "b").drain() == ["a1", "b1", "a2", "a3", "b0"]


def test_what_ours_holds_stands_in_kombus_records(
    connect: Call, kombus: Call, send: Call, receive: Call, server: Any
) -> None:
    send(kombus(), {"n": 1}, headers={"id": "t", "list": [], "big": 12345678901234567890})
    sent = json.loads(server.lindex("q", 0))
    connection = connect("?lease=20")
    receive(connection).drain()
    ((tag, record),) = server.hgetall("unacked").items()
    assert json.loads(record) == [sent, "", "q"]
    ((same, score),) = server.zrange("unacked_index", 0, -1, withscores=True)
    assert same == tag
    assert 15 < score - time.time() < 21  # seconds


def test_what_is_in_hand_is_found_without_a_search_however_little_it_is(
    connect: Call, send: Call, receive: Call, server: Any
) -> None:
    connection = connect()
    send(connection, {"n": 1})
    receive(connection).drain()
    (held,) = server.keys("wk:1:held:*")
    encodings = {server.object("encoding", key) for key in ("unacked_index", held, "wk:1:holders")}
    assert encodings == {b"skiplist", b"hashtable"}


def test_kombu_restores_what_ours_held_past_its_timeout(
    connect: Call, kombus: Call, send: Call, receive: Call, server: Any
) -> None:
    theirs = kombus(visibility_timeout=1)
    send(theirs, {"n": 1})
    ours = receive(connect())
    ours.drain()
    (tag,) = server.hkeys("unacked")
    server.zadd("unacked_index", {tag: time.time() - 2})
    theirs.default_channel.qos.restore_visible()
    consumer = receive(theirs)
    assert consumer.drain(1.0) == [{"n": 1}]
    consumer.messages[0].ack()
    ours.messages[0].ack()  # too late, and nothing happens
    ours.connection.transport.flush()
    assert not server.exists("q", "unacked", "unacked_index")


@pytest.mark.parametrize("exchange", ["", "direct", "topic"])
def test_ours_restores_what_kombu_held_past_the_visibility_timeout(
    connect: Call, kombus: Call, receive: Call, server: Any, exchange: str
) -> None:
    theirs = kombus()
    where = kombu.Exchange(exchange, exchange or "direct")
    queue = kombu.Queue("q", where, routing_key="a.*" if exchange == "topic" else "q")
    routing_key = "a.b" if exchange == "topic" else "q"
    theirs.Producer().publish({"n": 1}, exchange=where, routing_key=routing_key, declare=[queue] if exchange else [])
    held: list[Any] = []
    with theirs.Consumer([queue if exchange else kombu.Queue("q")], on_message=held.append, no_ack=False):
        theirs.drain_events(timeout=1)
        ours = connect(visibility_timeout=100)
        consumer = receive(ours)
        ours.transport.restore()
        assert consumer.drain() == []
        (tag,) = server.hkeys("unacked")
        server.zadd("unacked_index", {tag: time.time() - 101})
        ours.transport.restore()
        assert consumer.drain() == [{"n": 1}]
        (message,) = consumer.messages
        assert message.delivery_info["redelivered"] is True
        assert message.attempts == 0  # what Celery's workers do is not counted
        held[0].ack()  # too late, and kombu does not mind
    message.ack()
    ours.transport.flush()
    assert not server.exists("q", "unacked")


def test_a_record_that_cannot_be_read_ends_in_quarantine(connect: Call, receive: Call, server: Any) -> None:
    server.hset("unacked", "x", "{")
    server.zadd("unacked_index", {"x": 1})
    ours = connect()
    receive(ours).drain()
    assert server.lrange("unreadable.quarantine", 0, -1) == [b"{"]
    assert not server.exists("unacked", "unacked_index")


def test_a_topic_exchange_routes_to_each_queue_and_each_copy_is_settled_by_itself(
    connect: Call, receive: Call, server: Any
) -> None:
    sender = connect()
    topic = kombu.Exchange("events", "topic")
    queues = [kombu.Queue(name, topic, routing_key="log.#") for name in ("a", "b")]
    sender.Producer().publish("x", exchange=topic, routing_key="log.disk", declare=queues)
    one, two = receive(connect(), "a"), receive(connect(), "b")
    assert one.drain() == two.drain() == ["x"]
    one.messages[0].ack()
    one.connection.transport.flush()
    assert server.hlen("unacked") == server.hlen("wk:1:holders") == 1
    two.messages[0].ack()
    two.connection.transport.flush()
    assert not server.exists("unacked", "wk:1:attempts", "wk:1:holders")


@pytest.mark.parametrize("ours_sends", [True, False])
def test_broadcasts_reach_both_kinds(connect: Call, kombus: Call, ours_sends: bool) -> None:
    sender = connect() if ours_sends else kombus()
    fanout = kombu.Exchange("news", "fanout")
    heard: list[tuple[str, Any]] = []
    consumers = []
    for kind, connection in (("ours", connect()), ("theirs", kombus())):
        consumer = connection.Consumer(
            [kombu.Queue(kind, fanout, auto_delete=True)],
            callbacks=[lambda body, message, kind=kind: heard.append((kind, body))],
            no_ack=True,
        )
        consumer.consume()
        try:
            connection.drain_events(timeout=0.2)  # subscribes
        except TimeoutError:
            pass
        consumers.append((connection, consumer))
    sender.Producer().publish({"n": 1}, exchange=fanout, declare=[fanout])
    for connection, _ in consumers:
        connection.drain_events(timeout=5)
    assert sorted(heard) == [("ours", {"n": 1}), ("theirs", {"n": 1})]


def test_what_is_broadcast_right_after_consume_is_heard(connect: Call) -> None:
    """A worker that says that it is ready has subscribed, though its loop has not turned yet."""
    fanout = kombu.Exchange("news", "fanout")
    connection, heard = connect(), []
    queue = kombu.Queue("one", fanout, auto_delete=True)
    connection.Consumer([queue], callbacks=[lambda body, message: heard.append(body)], no_ack=True).consume()
    connect().Producer().publish({"n": 1}, exchange=fanout, declare=[fanout])
    connection.drain_events(timeout=5)
    assert heard == [{"n": 1}]


def test_a_prefix_of_all_keys_is_kombus(connect: Call, kombus: Call, send: Call, receive: Call, server: Any) -> None:
    send(kombus(global_keyprefix="app:"), 1)
    ours = receive(connect(global_keyprefix="app:"))
    assert ours.drain() == [1]
    ours.messages[0].requeue()
    assert all(key.startswith(b"app:") for key in server.keys("*"))
    assert receive(kombus(global_keyprefix="app:")).drain(1.0) == [1]
