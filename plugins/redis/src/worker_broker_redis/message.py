"""What a message looks like on the server."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from worker_kernel import QUARANTINE_HEADER, QUARANTINED_AT_HEADER, Fence, read_wire

from .queues import SEPARATOR, redelivered

if TYPE_CHECKING:
    from .queues import Delivery


def unpack(delivery: Delivery, authority: str, holder: str) -> dict[str, Any]:
    """Build what a `LeasedMessage` takes from a delivery.

    Raises:
        ValueError: the envelope is damaged.
    """
    return read_wire(
        delivery.raw,
        queue=delivery.queue,
        tag=delivery.tag,
        attempts=delivery.attempts,
        fence=Fence(authority=authority, token=f"{holder}{SEPARATOR}{delivery.identity}"),
    )


def handed_back(delivery: Delivery) -> str | bytes:
    """The envelope with the marks of a redelivery; as it is where it cannot be read."""
    try:
        return redelivered(json.loads(delivery.raw))
    except (ValueError, TypeError, RecursionError):
        return delivery.raw


def quarantined(delivery: Delivery, reason: str) -> str | bytes:
    """The envelope with the reason and the time of its quarantine in headers; as it is where it cannot be read."""
    try:
        payload = json.loads(delivery.raw)
        headers = payload.get("headers")
        why = {QUARANTINE_HEADER: reason, QUARANTINED_AT_HEADER: time.time()}
        payload["headers"] = {**(headers if isinstance(headers, dict) else {}), **why}
        return json.dumps(payload)
    except (ValueError, TypeError, RecursionError):
        return delivery.raw


def name(delivery: Delivery) -> str:
    """How the log calls a message: by its task id, where it has one."""
    try:
        payload = json.loads(delivery.raw)
        found = payload["headers"].get("id") or payload["properties"].get("correlation_id")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found = None
    return str(found or delivery.identity.rpartition(SEPARATOR)[2])
