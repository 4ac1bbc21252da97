"""Jobs as bytes for another process: a header, and what of the message is raw. Nothing is pickled.

Where the message came as one text, that text crosses as it is, with a header of what only this process knows: it is
parsed once more there, by the same code. Else the header says what the message's headers say, and the body is raw.

The header is in the format of `marshal`, which holds plain data only, is read by the interpreter that wrote it, and
takes a quarter of the time; what is more than plain data (a date, the outcome of a report) is in JSON.
"""

from __future__ import annotations

import json
import marshal
import operator
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

import attrs
from kombu.utils.json import JSONEncoder

from ..application import Envelope, Fence
from ..errors import KernelBug, MessageInvalid
from ..outcome import Failure, Outcome, OutcomeKind
from .envelope import parse
from .message import WireMessage
from .meta import revived
from .wire import Delivered, read_wire

_START = struct.Struct("!cI")
"""The format of the header, and its length in bytes."""
_MARSHAL, _JSON, _WIRE = b"M", b"J", b"W"
_VERSION = 4
"""Of marshal's format: every supported interpreter reads and writes it."""


class _Encoder(JSONEncoder):  # type: ignore[misc]  # kombu is untyped
    def default(self, o: object) -> object:
        """Let what a broker put into a header, and JSON cannot carry, stand as its ``repr``."""
        try:
            return super().default(o)
        except TypeError:
            return repr(o)


_encode = _Encoder().encode
_IN_THE_HEADER = tuple(field.name for field in attrs.fields(Envelope) if field.name not in ("body", "fence", "wire"))
_values = operator.attrgetter(*_IN_THE_HEADER)


def pack(envelope: Envelope, outcome: Outcome | None = None) -> bytes:
    """Return a frame: the format of the header and its length (5 bytes), the header, the message or its body.

    Args:
        envelope: the message.
        outcome: for a report, the fate.
    """
    fence = None if envelope.fence is None else (envelope.fence.authority, envelope.fence.token)
    if envelope.wire is not None and outcome is None:
        header = marshal.dumps(
            (envelope.queue, envelope.properties["delivery_tag"], envelope.attempts, fence), _VERSION
        )
        return b"".join((_START.pack(_WIRE, len(header)), header, envelope.wire))
    parts = dict(zip(_IN_THE_HEADER, _values(envelope), strict=True))
    parts["fence"] = fence
    text = isinstance(envelope.body, str)
    kind, header = _packed((parts, text, None if outcome is None else attrs.asdict(outcome)))
    body = envelope.body.encode("utf-8", "surrogatepass") if isinstance(envelope.body, str) else bytes(envelope.body)
    return b"".join((_START.pack(kind, len(header)), header, body))


def unpack(frame: bytes, zone: tzinfo = UTC) -> tuple[Envelope, Outcome | None]:
    """Return what `pack` was given.

    Args:
        frame: what `pack` returned.
        zone: what `parse` was given.

    Raises:
        KernelBug: it is no frame.
    """
    try:
        kind, length = _START.unpack_from(frame)
        end = _START.size + length
        if kind == _WIRE:
            return _from_wire(frame, end, zone), None
        parts, text, outcome = _unpacked(kind, frame[_START.size : end])
        body: bytes | str = frame[end:].decode("utf-8", "surrogatepass") if text else frame[end:]
        return _envelope(parts, body), _outcome(outcome)
    except (ValueError, KeyError, TypeError, EOFError, struct.error, MessageInvalid) as exc:
        raise KernelBug(f"a frame of {len(frame)} bytes cannot be read: {exc}") from exc


def _from_wire(frame: bytes, end: int, zone: tzinfo) -> Envelope:
    queue, tag, attempts, fence = marshal.loads(frame[_START.size : end])  # noqa: S302  (as in `_unpacked`)
    made = fence and Fence(authority=fence[0], token=fence[1])
    return parse(Delivered(read_wire(frame[end:], queue=queue, tag=tag, attempts=attempts, fence=made)), zone)


def _packed(head: Any) -> tuple[bytes, bytes]:
    try:
        return _MARSHAL, marshal.dumps(head, _VERSION)
    except ValueError:  # more than plain data
        return _JSON, _encode(head).encode("ascii")


def _unpacked(kind: bytes, header: bytes) -> Any:
    if kind == _MARSHAL:
        return marshal.loads(header)  # noqa: S302  (what `pack` wrote in the process that started this one)
    parts, text, outcome = json.loads(header)
    return revived(parts), text, outcome


def copy_of(envelope: Envelope) -> WireMessage:
    """Return a message that says what the envelope's said, to be sent in its stead."""
    headers = {key: value for key, value in envelope.headers.items() if key != "redelivered"}
    body = envelope.body.encode("utf-8") if isinstance(envelope.body, str) else bytes(envelope.body)
    kept = ("correlation_id", "reply_to", "priority")
    return WireMessage(
        headers=headers,
        properties={name: envelope.properties[name] for name in kept if envelope.properties.get(name) is not None},
        body=body,
        content_type=envelope.content_type,
        content_encoding=envelope.content_encoding,
    )


def _envelope(fields: Mapping[str, Any], body: bytes | str) -> Envelope:
    for name in ("eta", "expires"):
        if not isinstance(fields[name], (datetime, type(None))):
            raise TypeError(f"{name} is {fields[name]!r}")
    fence = fields["fence"]
    return Envelope(**{**fields, "body": body, "fence": fence and Fence(authority=fence[0], token=fence[1])})


def _outcome(parts: Mapping[str, Any] | None) -> Outcome | None:
    if parts is None:
        return None
    fields = dict(parts)
    failure = fields.pop("failure")
    if failure is not None:
        failure = Failure(**{**failure, "args": tuple(failure["args"])})
    return Outcome(**{**fields, "kind": OutcomeKind(fields["kind"]), "failure": failure})
