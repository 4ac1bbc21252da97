"""What a message looks like in the file, and to the one who receives it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kombu.compression import decompress
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from worker_kernel import QUARANTINE_HEADER, QUARANTINED_AT_HEADER, Fence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .queues import Delivery


class LeasedMessage(virtual.Message):  # type: ignore[misc]  # kombu is untyped
    """A message of this transport: kombu's, with a fence, a count of attempts, and two more ways to settle.

    Settling is batched: an `ack` takes effect when the transport next turns (see `Transport.flush`). A settlement
    that comes after the lease has passed to somebody else is refused with a warning in the log, and raises nothing.
    """

    def __init__(self, payload: Mapping[str, Any], channel: Any = None, **kwargs: Any) -> None:
        headers = payload.get("headers") or {}
        # kombu would decompress here, on the thread of the loop, without a bound.
        plain = {key: value for key, value in headers.items() if key != "compression"}
        self._inflated: Any = None
        super().__init__({**payload, "headers": plain}, channel=channel, **kwargs)
        self.headers = dict(headers)
        self.queue: str = payload["queue"]
        """The queue that it was taken from."""
        self.attempts: int = payload["attempts"]
        """Earlier starts that were never settled nor handed back; 0 on the first delivery."""
        self.fence: Fence = payload["fence"]
        """Proves to the result store in the same file that the message is still in these hands."""

    @property
    def raw_body(self) -> bytes | None:
        """The body as it was sent, still compressed when the header ``compression`` says so."""
        raw: bytes | None = self._body
        return raw

    @property
    def body(self) -> Any:
        """The body, decompressed on first access.

        Raises:
            Exception: what the decompressor raises on a damaged body.
        """
        compression = self.headers.get("compression")
        if not compression:
            return self._body
        if self._inflated is None:
            self._inflated = decompress(self._body, compression)
        return self._inflated

    @body.setter
    def body(self, body: Any) -> None:
        self._body, self._inflated = body, None

    @property
    def lease_lost(self) -> bool:
        """Whether a renewal has found the message in other hands: nothing that is done with it counts any more."""
        return self.channel is not None and self.delivery_tag in self.channel.qos.lost

    def park(self, seconds: float) -> None:
        """Give the message back, invisible for `seconds` (0 or more), as if it had never been started.

        Raises:
            MessageStateError: it was settled before.
        """
        self._settle("REQUEUED", "basic_park", seconds)

    def quarantine(self, reason: str) -> None:
        """Move the message, unread, to the queue ``<queue>.quarantine`` with the reason in a header.

        Raises:
            MessageStateError: it was settled before.
        """
        self._settle("REJECTED", "basic_quarantine", reason)

    _state: str

    def _settle(self, state: str, operation: str, argument: float | str) -> None:
        if self.channel is None:
            raise self.MessageStateError("This message does not have a receiving channel")
        if self.acknowledged:
            raise self.MessageStateError(f"Message already acknowledged with state: {self._state}")
        getattr(self.channel, operation)(self.delivery_tag, argument)
        self._state = state


def pack(message: Mapping[str, Any]) -> tuple[str, bytes | str | None]:
    """Split what kombu sends into a head and a body for the file."""
    properties = {key: value for key, value in message["properties"].items() if key != "delivery_tag"}
    head = {**message, "properties": properties}
    body = head.pop("body")
    return dumps(head), body


def unpack(delivery: Delivery, authority: str) -> dict[str, Any]:
    """Build what `LeasedMessage` takes from a delivery.

    Raises:
        ValueError: the head is damaged.
    """
    payload = loads(delivery.head)
    if not isinstance(payload, dict) or not isinstance(payload.get("properties"), dict):
        raise ValueError("its head is not that of a message")  # noqa: TRY004  # one error for all damage
    properties = payload["properties"]
    properties["delivery_tag"] = delivery.token
    information = properties.get("delivery_info")
    properties["delivery_info"] = {**(information or {}), "redelivered": delivery.redelivered}
    if delivery.redelivered:
        payload["redelivered"] = True
    payload["body"] = delivery.body
    payload["queue"] = delivery.queue
    payload["attempts"] = delivery.attempts
    payload["fence"] = Fence(authority=authority, token=delivery.token)
    return dict(payload)


def quarantined(head: str, reason: str) -> str:
    """The head of a message with the reason and time of its quarantine added; a damaged head is kept as a text."""
    why = {QUARANTINE_HEADER: reason, QUARANTINED_AT_HEADER: time.time()}
    try:
        payload = loads(head)
        payload["headers"] = {**(payload.get("headers") or {}), **why}
    except (ValueError, TypeError, AttributeError):
        payload = {"properties": {}, "headers": {**why, "x-kernel-damaged-head": head}}
    return str(dumps(payload))


def name(delivery: Delivery) -> str:
    """How the log calls a message: by its task id, where it has one."""
    try:
        payload = loads(delivery.head)
        found = payload["headers"].get("id") or payload["properties"].get("correlation_id")
    except (ValueError, TypeError, KeyError, AttributeError):
        found = None
    return str(found or f"#{delivery.id}")


def eta(message: Mapping[str, Any]) -> float | None:
    """The wall clock time in the header ``eta`` (Celery's protocol, version 2); None where there is none to honour.

    A time without a zone is UTC.  A malformed one is for the consumer to judge: the message is delivered at once.
    """
    value: Any = (message.get("headers") or {}).get("eta")
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
