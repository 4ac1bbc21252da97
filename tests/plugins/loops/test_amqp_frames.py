"""From frames to messages: as py-amqp has it, only faster, and nobody's headers end a connection."""

from __future__ import annotations

import logging
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import amqp
import pytest
from amqp.exceptions import UnexpectedFrame
from amqp.method_framing import frame_handler
from amqp.serialization import decode_properties_basic, dumps
from hypothesis import given
from hypothesis import strategies as st

from worker_loops.amqp_frames import Frames, read_properties

DELIVER, QOS_OK = struct.pack(">HH", 60, 60), struct.pack(">HH", 60, 11)


def moment(seconds: int) -> datetime:
    """As py-amqp has it: in UTC, and naive."""
    return datetime.fromtimestamp(seconds, tz=UTC).replace(tzinfo=None)


TEXT = st.text(max_size=300)
KEYS = st.text(max_size=40)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=50),
    TEXT,
    st.integers(0, 2**32).map(moment),
    st.decimals(-1000, 1000, places=2),
)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
SHORT = st.text(st.characters(codec="utf-8"), max_size=60)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": SHORT,
        "content_encoding": SHORT,
        "application_headers": st.dictionaries(KEYS, VALUES, max_size=6),
        "delivery_mode": st.integers(0, 255),
        "priority": st.integers(0, 255),
        "correlation_id": SHORT,
        "reply_to": SHORT,
        "expiration": SHORT,
        "message_id": SHORT,
        "timestamp": st.integers(0, 2**63),
        "type": SHORT,
        "user_id": SHORT,
        "app_id": SHORT,
        "cluster_id": SHORT,
    },
)


@given(PROPERTIES)
def test_whatever_a_message_has_is_read_as_py_amqp_reads_it(properties: dict[str, Any]) -> None:
    data = b"front" + amqp.Message("", **properties)._serialize_properties()
    expected, _ = decode_properties_basic(data, 5)
    assert read_properties(data, 5) == expected


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (b"b\xff", -1),
        (b"B\xff", 255),
        (b"s\xff\xfe", -2),
        (b"U\xff\xfe", -2),
        (b"u\xff\xfe", 65534),
        (b"I\xff\xff\xff\xfe", -2),
        (b"i\xff\xff\xff\xfe", 2**32 - 2),
        (b"l" + b"\xff" * 8, -1),
        (b"L" + b"\xff" * 8, -1),
        (b"f\x3f\x80\x00\x00", 1.0),
        (b"d\x3f\xf0" + bytes(6), 1.0),
        (b"t\x01", True),
        (b"t\x00", False),
        (b"D\x02\x00\x00\x00\x7d", Decimal("1.25")),
        (b"T" + bytes(7) + b"\x01", moment(1)),
        (b"x\x00\x00\x00\x01\xff", b"\xff"),
        (b"S\x00\x00\x00\x01\xff", b"\xff"),
        (b"S\x00\x00\x00\x03\xed\xa0\x80", "\ud800"),
        (b"A\x00\x00\x00\x03Vt\x01", [None, True]),
    ],
)
def test_each_type_of_value_that_others_may_send_is_read(value: bytes, meaning: object) -> None:
    table = b"\x01k" + value
    data = struct.pack(">HI", 0x2000, len(table)) + table
    assert read_properties(data, 0) == {"application_headers": {"k": meaning}}
    assert decode_properties_basic(data, 0)[0] == {"application_headers": {"k": meaning}}


# -- frames -------------------------------------------------------------------------------------------------------


class Connection:
    def __init__(self) -> None:
        self.bytes_recv = 0
        self.methods: list[tuple[int, tuple[int, int], bytes, Any]] = []

    def on_inbound_method(self, *method: Any) -> None:
        self.methods.append(method)


def header(size: int, properties: bytes = b"\x00\x00") -> bytes:
    return struct.pack(">HxxQ", 60, size) + properties


def seen(handler: Any, connection: Connection, frames: list[tuple[int, int, bytes]]) -> Any:
    told = [handler(frame) for frame in frames]
    methods = [(*method, content and (content.body, content.properties)) for *method, content in connection.methods]
    return told, methods, connection.bytes_recv


@pytest.mark.parametrize(
    "frames",
    [
        [(1, 1, QOS_OK)],
        [(8, 0, b"")],
        [(1, 1, DELIVER + b"args"), (2, 1, header(0))],
        [(1, 1, DELIVER), (2, 1, header(5)), (3, 1, b"he"), (8, 0, b""), (3, 1, b"llo"), (1, 1, QOS_OK)],
        [(1, 1, DELIVER), (1, 2, DELIVER), (2, 2, header(1)), (2, 1, header(1)), (3, 1, b"1"), (3, 2, b"2")],
        [(1, 0, QOS_OK), (1, 1, DELIVER), (1, 0, QOS_OK), (2, 1, header(1, b"\x08\x00\x07")), (3, 1, b"x")],
    ],
)
def test_messages_are_put_together_as_py_amqp_does_it(frames: list[tuple[int, int, bytes]]) -> None:
    ours, theirs = Connection(), Connection()
    expected = seen(frame_handler(theirs, theirs.on_inbound_method), theirs, frames)
    assert seen(Frames(ours), ours, frames) == expected


@pytest.mark.parametrize("kind", [1, 3])
def test_what_does_not_follow_is_an_error_of_the_connection(kind: int) -> None:
    frames = Frames(Connection())
    frames((1, 1, DELIVER))
    with pytest.raises(UnexpectedFrame) as info:
        frames((kind, 1, QOS_OK))
    assert isinstance(info.value, amqp.Connection.connection_errors)


def nested(depth: int) -> bytes:
    value = b"V"
    for _ in range(depth):
        table = b"\x00" + value
        value = b"F" + struct.pack(">I", len(table)) + table
    return value[1:]


@pytest.mark.parametrize(
    "headers",
    [
        struct.pack(">I", 11) + b"\x01kT" + b"\xff" * 8,  # a date beyond all dates
        struct.pack(">I", 3) + b"\x01k?",
        struct.pack(">I", 9),
        nested(5000),
    ],
    ids=["date", "type", "length", "depth"],
)
def test_a_message_whose_properties_cannot_be_read_comes_without_any(headers: bytes, caplog: Any) -> None:
    connection = Connection()
    with caplog.at_level(logging.ERROR):
        frames = Frames(connection)
        for frame in [(1, 1, DELIVER), (2, 1, header(4, b"\x20\x00" + headers)), (3, 1, b"body")]:
            frames(frame)
    [(_, _, _, message)] = connection.methods
    assert (message.properties, message.body) == ({}, b"body")
    assert "cannot be decoded" in caplog.text


def test_the_numbers_of_arguments_are_left_to_py_amqp() -> None:
    connection = Connection()
    Frames(connection)((1, 3, QOS_OK + dumps("B", [7])))
    assert connection.methods == [(3, (60, 11), QOS_OK + b"\x00\x07", None)]
