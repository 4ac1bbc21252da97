"""What a message looks like on the server."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from kombu.utils.json import loads

from worker_kernel import QUARANTINE_HEADER, QUARANTINED_AT_HEADER, Fence

from .queues import SEPARATOR, redelivered

if TYPE_CHECKING:
    from .queues import Delivery

TYPED = b'"__type__"'
"""What JSON has in it that holds one of kombu's typed values (a date, a UUID, ...)."""


def unpack(delivery: Delivery, authority: str, holder: str) -> dict[str, Any]:
    """Build what a `LeasedMessage` takes from a delivery.

    Raises:
        ValueError: the envelope is damaged.
    """
    try:
        # kombu's reading looks at every mapping for its typed values, which few messages have.
        payload = loads(delivery.raw) if TYPED in delivery.raw else json.loads(delivery.raw.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (TypeError, LookupError, AttributeError) as error:  # of kombu's typed values
        raise ValueError(f"it holds a value that cannot be read: {error}") from error
    headers, properties = payload.get("headers"), payload["properties"]
    if headers is not None and not isinstance(headers, dict):
        raise ValueError("its headers are no mapping")
    information = properties.get("delivery_info")
    information = dict(information) if isinstance(information, dict) else {}
    before = bool(delivery.attempts or information.get("redelivered") or (headers or {}).get("redelivered"))
    properties["delivery_tag"] = delivery.tag
    properties["delivery_info"] = {"exchange": "", "routing_key": delivery.queue, **information, "redelivered": before}
    if before:
        payload["redelivered"] = True
    payload["queue"] = delivery.queue
    payload["attempts"] = delivery.attempts
    payload["fence"] = Fence(authority=authority, token=f"{holder}{SEPARATOR}{delivery.identity}")
    return dict(payload)


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
