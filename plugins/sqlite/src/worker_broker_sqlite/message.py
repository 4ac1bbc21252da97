"""What a message looks like in the file."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kombu.utils.json import dumps

from worker_kernel import QUARANTINE_HEADER, QUARANTINED_AT_HEADER, Fence, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .queues import Delivery


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
    payload = read_json(delivery.head)
    if not isinstance(payload, dict) or not isinstance(payload.get("properties"), dict):
        raise ValueError("its head is not that of a message")  # noqa: TRY004  # one error for all damage
    properties = payload["properties"]
    properties["delivery_tag"] = delivery.tag
    information = properties.get("delivery_info")
    properties["delivery_info"] = {**(information or {}), "redelivered": delivery.redelivered}
    if delivery.redelivered:
        payload["redelivered"] = True
    payload["body"] = delivery.body
    payload["queue"] = delivery.queue
    payload["attempts"] = delivery.attempts
    payload["fence"] = Fence(authority=authority, token=delivery.tag)
    return dict(payload)


def quarantined(head: str, reason: str) -> str:
    """The head of a message with the reason and time of its quarantine added; a damaged head is kept as a text."""
    why = {QUARANTINE_HEADER: reason, QUARANTINED_AT_HEADER: time.time()}
    try:
        payload = read_json(head)
        payload["headers"] = {**(payload.get("headers") or {}), **why}
    except (ValueError, TypeError, AttributeError):
        payload = {"properties": {}, "headers": {**why, "x-kernel-damaged-head": head}}
    return str(dumps(payload))


def name(delivery: Delivery) -> str:
    """How the log calls a message: by its task id, where it has one."""
    try:
        payload = read_json(delivery.head)
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
