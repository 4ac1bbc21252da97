"""Jobs as bytes for another process: a JSON header and the raw body. Nothing is pickled."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
from kombu.utils.json import JSONEncoder

from ..application import Envelope, Fence
from ..errors import KernelBug
from ..outcome import Failure, Outcome, OutcomeKind
from .message import WireMessage
from .meta import TAGGED, revived

_LENGTH = struct.Struct("!I")


class _Encoder(JSONEncoder):  # type: ignore[misc]  # kombu is untyped
    def default(self, o: object) -> object:
        """Let what a broker put into a header, and JSON cannot carry, stand as its ``repr``."""
        try:
            return super().default(o)
        except TypeError:
            return repr(o)


_encode = _Encoder().encode
_IN_THE_HEADER = tuple(field.name for field in attrs.fields(Envelope) if field.name not in ("body", "fence"))


def pack(envelope: Envelope, outcome: Outcome | None = None) -> bytes:
    """Return a frame: the length of the header (4 bytes, big-endian), the header, the body as it came.

    Args:
        envelope: the message.
        outcome: for a report, the fate.
    """
    parts = {name: getattr(envelope, name) for name in _IN_THE_HEADER}
    parts["fence"] = None if envelope.fence is None else (envelope.fence.authority, envelope.fence.token)
    head: dict[str, Any] = {"envelope": parts, "text": isinstance(envelope.body, str)}
    if outcome is not None:
        head["outcome"] = attrs.asdict(outcome)
    header = _encode(head).encode("ascii")
    body = envelope.body.encode("utf-8", "surrogatepass") if isinstance(envelope.body, str) else bytes(envelope.body)
    return b"".join((_LENGTH.pack(len(header)), header, body))


def unpack(frame: bytes) -> tuple[Envelope, Outcome | None]:
    """Return what `pack` was given.

    Raises:
        KernelBug: it is no frame.
    """
    try:
        (length,) = _LENGTH.unpack_from(frame)
        end = _LENGTH.size + length
        header = frame[_LENGTH.size : end].decode("ascii")
        head = json.loads(header)
        body: bytes | str = frame[end:].decode("utf-8", "surrogatepass") if head["text"] else frame[end:]
        parts: Any = revived(head["envelope"]) if TAGGED in header else head["envelope"]
        return _envelope(parts, body), _outcome(head.get("outcome"))
    except (ValueError, KeyError, TypeError, struct.error) as exc:
        raise KernelBug(f"a frame of {len(frame)} bytes cannot be read: {exc}") from exc


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
