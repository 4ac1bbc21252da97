"""Messages as kombu's virtual transports put them into a queue: all of one in one JSON text.

A process that has such a text can read everything else from it. So a job of such a message is handed to another
process as the text that came, and nothing of it is encoded anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..application import Fence
from ..leasing.body import body_bytes
from .jsontext import read_json


def read_wire(text: bytes, *, queue: str, tag: str, attempts: int, fence: Fence | None) -> dict[str, Any]:
    """Return what a `LeasedMessage` takes.

    Args:
        text: the message.
        queue: the one that it was taken from.
        tag: of this delivery.
        attempts: earlier starts that never settled.
        fence: proof that the message is ours.

    Raises:
        ValueError: the text is damaged, or is no message.
    """
    try:
        payload = read_json(text)
        headers, properties = payload.get("headers"), payload["properties"]
        information = properties.get("delivery_info")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (TypeError, LookupError, AttributeError) as error:  # of kombu's typed values, too
        raise ValueError(f"it holds a value that cannot be read: {error}") from error
    if headers is None:
        headers = {}
    elif not isinstance(headers, dict):
        raise ValueError("its headers are no mapping")
    delivery: dict[str, Any] = {"exchange": "", "routing_key": queue}
    if isinstance(information, dict):
        delivery |= information
    redelivered = bool(attempts or delivery.get("redelivered") or headers.get("redelivered"))
    delivery["redelivered"] = redelivered
    properties["delivery_tag"], properties["delivery_info"] = tag, delivery
    if redelivered:
        payload["redelivered"] = True
    payload["queue"], payload["attempts"], payload["fence"], payload["wire"] = queue, attempts, fence, text
    return payload  # type: ignore[no-any-return]  # it is what JSON says, and was a mapping all along


class Delivered:
    """What `parse` looks at of a message, for a process that can settle none: it has the text, and no channel."""

    __slots__ = (
        "attempts",
        "content_encoding",
        "content_type",
        "delivery_info",
        "fence",
        "headers",
        "properties",
        "queue",
        "raw_body",
        "wire",
    )

    def __init__(self, payload: Mapping[str, Any]) -> None:
        """Take what `read_wire` returned."""
        properties = payload["properties"]
        self.headers = payload.get("headers") or {}
        self.properties = properties
        self.delivery_info = properties["delivery_info"]
        self.raw_body = body_bytes(payload.get("body"), properties.get("body_encoding"))
        self.content_type = payload.get("content-type")
        self.content_encoding = payload.get("content-encoding")
        self.queue = payload["queue"]
        self.attempts = payload["attempts"]
        self.fence = payload["fence"]
        self.wire = payload["wire"]
