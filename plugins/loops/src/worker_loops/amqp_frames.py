"""From AMQP's frames to messages: ``py-amqp``'s part, with a shorter way through the headers of a message.

Celery's messages have about twenty headers, and their decoding is the largest part of what a delivery costs in
``py-amqp``. What cannot be decoded at all becomes a message without properties, for which there is the quarantine: from
``py-amqp`` it would be an error of the connection, again with each redelivery.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from amqp import Message
from amqp.exceptions import UnexpectedFrame
from amqp.spec import Basic

log = logging.getLogger("worker_loops.connection")

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
WITH_CONTENT = frozenset({Basic.Deliver, Basic.Return, Basic.GetOk})

_SIGNATURE = struct.Struct(">HH")
_LONG = struct.Struct(">I")
_LAYOUTS = ("bb", "BB", "sh", "Uh", "uH", "Ii", "iI", "lq", "Lq", "ff", "dd", "t?")
_NUMBERS = {ord(one[0]): struct.Struct(">" + one[1]) for one in _LAYOUTS}
"""Values of a table that have a fixed size, by the letter before them. Letters as RabbitMQ has them, not AMQP 0-9-1."""
_VOID, _STRING, _BYTES, _TABLE, _ARRAY, _TIME, _DECIMAL = b"VSxFATD"


class Frames:
    """Puts the messages of one connection together and hands methods to its channels: py-amqp's frame handler."""

    def __init__(self, connection: Any) -> None:
        """Begin with no message; ``connection`` is a ``py-amqp`` connection."""
        self._connection = connection
        self._begun: dict[int, _Content] = {}

    def __call__(self, frame: tuple[int, int, bytes]) -> bool:
        """Take the next frame: type, channel, payload. Returns whether a method was handed to its channel.

        Raises:
            UnexpectedFrame: it is not the one that has to follow.
            Exception: what the channel makes of the method.
        """
        kind, channel, payload = frame
        self._connection.bytes_recv += 1
        if kind == HEARTBEAT:
            return False
        message = self._begun.get(channel)
        if kind != (METHOD if message is None else message.awaits):
            raise UnexpectedFrame(f"the broker has sent a frame of type {kind} that nothing announced")
        if message is None:
            signature = _SIGNATURE.unpack_from(payload)
            if signature in WITH_CONTENT:
                self._begun[channel] = _Content(frame_method=signature, frame_args=payload)
                return False
            self._connection.on_inbound_method(channel, signature, payload, None)
            return True
        if kind == HEADER:
            message.awaits = BODY
            message.inbound_header(payload)
        else:
            message.inbound_body(payload)
        if not message.ready:
            return False
        del self._begun[channel]
        self._connection.on_inbound_method(channel, message.frame_method, message.frame_args, message)
        return True


class _Content(Message):  # type: ignore[misc]  # py-amqp has no types
    """A message that comes in."""

    awaits = HEADER

    def _load_properties(self, class_id: int, buf: bytes, offset: int) -> int:
        """Decode the properties at ``offset`` (called by `inbound_header`)."""
        try:
            self.properties = read_properties(buf, offset)
        except (ArithmeticError, IndexError, RecursionError, ValueError, struct.error) as exc:
            log.error("the properties of a message cannot be decoded: %s: %s", type(exc).__name__, exc)
            self.properties = {}
        return len(buf)


def read_properties(data: bytes, at: int) -> dict[str, Any]:
    """Decode the properties of a message, flags first, that begin at ``at``.

    Raises:
        IndexError, ValueError, RecursionError, ArithmeticError, struct.error: they are none.
    """
    flags = data[at] << 8 | data[at + 1]
    at += 2
    properties: dict[str, Any] = {}
    for flag, name, read in _PROPERTIES:
        if flags & flag:
            properties[name], at = read(data, at)
    return properties


def _short_string(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode("utf-8", "surrogatepass"), end


def _octet(data: bytes, at: int) -> tuple[int, int]:
    return data[at], at + 1


def _long_long(data: bytes, at: int) -> tuple[int, int]:
    return int.from_bytes(data[at : at + 8], "big"), at + 8


def read_table(data: bytes, at: int) -> tuple[dict[Any, Any], int]:
    """Decode the table at ``at``; return it and where it ends."""
    end = at + 4 + _LONG.unpack_from(data, at)[0]
    at += 4
    table: dict[Any, Any] = {}
    while at < end:
        value = at + 1 + data[at]
        key = _text(data[at + 1 : value])
        kind = data[value]
        if kind == _STRING:  # what most of Celery's headers are
            begin = value + 5
            at = begin + _LONG.unpack_from(data, value + 1)[0]
            table[key] = _text(data[begin:at])
        elif kind == _VOID:  # and the others
            table[key], at = None, value + 1
        else:
            table[key], at = _value(data, value)
    return table, at


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data


def _value(data: bytes, at: int) -> tuple[Any, int]:
    """Decode the value of a table or an array whose letter is at ``at``."""
    kind = data[at]
    at += 1
    number = _NUMBERS.get(kind)
    if number is not None:
        return number.unpack_from(data, at)[0], at + number.size
    if kind == _VOID:
        return None, at
    if kind == _TABLE:
        return read_table(data, at)
    if kind == _TIME:
        seconds, at = _long_long(data, at)
        return datetime.fromtimestamp(seconds, tz=UTC).replace(tzinfo=None), at
    if kind == _DECIMAL:
        scale, unscaled = struct.unpack_from(">Bi", data, at)
        return Decimal(unscaled).scaleb(-scale), at + 5
    if kind not in (_STRING, _BYTES, _ARRAY):
        raise ValueError(f"a value of type {chr(kind)!r}")
    begin = at + 4
    end = begin + _LONG.unpack_from(data, at)[0]
    if kind == _ARRAY:
        return _array(data, begin, end)
    return _text(data[begin:end]) if kind == _STRING else data[begin:end], end


def _array(data: bytes, at: int, end: int) -> tuple[list[Any], int]:
    values = []
    while at < end:
        value, at = _value(data, at)
        values.append(value)
    return values, at


_READERS: dict[str, Callable[[bytes, int], tuple[Any, int]]] = {
    "s": _short_string,
    "o": _octet,
    "F": read_table,
    "L": _long_long,
}
_PROPERTIES = [(1 << (15 - place), name, _READERS[kind]) for place, (name, kind) in enumerate(Message.PROPERTIES)]
