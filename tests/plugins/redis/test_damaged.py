"""Entries of a queue that are no messages, and messages that cannot be opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Call = Callable[..., Any]


def nothing_held(server: Any) -> bool:
    return not server.exists("unacked", "unacked_index", "wk:1:attempts", "wk:1:holders") and not server.keys(
        "wk:1:held:*"
    )


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
    "raw",
    [
        '{"properties": {"delivery_tag": "t"}}',
        '{"properties":{"delivery_tag":"t"}}',
        '{"properties": {"delivery_tag": "\\u0074"}}',
        '{"headers": {"delivery_tag": "other"}, "properties": {"delivery_tag": "t"}}',
        '{"headers": {"delivery_tag":"other"}, "properties": {"delivery_tag": "t"}}',
        '{"properties": {"delivery_tag": "t"}, "headers": {"delivery_tag": "other"}}',
        json.dumps({"headers": {"argsrepr": '"delivery_tag": "other"'}, "properties": {"delivery_tag": "t"}}),
        json.dumps({"headers": {"argsrepr": '\\"delivery_tag": "other"'}, "properties": {"delivery_tag": "t"}}),
    ],
    ids=["as kombu", "no blanks", "escape", "header before", "other header", "header after", "quoted", "quoted twice"],
)
def test_a_message_is_known_by_the_tag_in_its_properties(connect: Call, server: Any, raw: str) -> None:
    connection = connect()
    connection.channel()
    transport = connection.transport
    server.lpush("q", raw)
    (delivery,) = transport.queues.fetch(transport.link, [("q", "q")], width=1, limit=1).deliveries
    assert (delivery.identity, delivery.raw) == ("q\x06\x16t", raw.encode())


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
