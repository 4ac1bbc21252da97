"""Looking at a queue without taking anything from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import redis

from worker_kernel import QUARANTINE_HEADER, LeasedMessage

from .message import unpack
from .queues import Delivery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .channel import RedisChannel


class BrowsedMessage(LeasedMessage):
    """A message that lies in its queue, in nobody's hands. `ack` takes it out; nothing else can be done to it."""

    def __init__(self, payload: Mapping[str, Any], channel: RedisChannel, delivery: Delivery, *, damaged: bool) -> None:
        super().__init__(payload, channel=channel)
        self._delivery = delivery
        self.damaged = damaged
        """Whether the entry is no message, or one that cannot be opened: then its body is the whole entry."""

    def ack(self, multiple: bool = False) -> None:
        """Remove this one entry, unless somebody else has done so."""
        client = redis.Redis(connection_pool=self.channel.connection.pool)
        client.lrem(self._delivery.list, -1, self._delivery.raw)
        self._state = "ACK"


def browse(channel: RedisChannel, queue: str) -> list[BrowsedMessage]:
    """Return what lies in `queue`, in the order in which it would be taken.

    Raises:
        redis.ConnectionError: the server cannot be reached.
    """
    client = redis.Redis(connection_pool=channel.connection.pool)
    keys = [channel.key(queue, step) for step in channel.priority_steps]
    entries: list[tuple[str, bytes]] = [(key, raw) for key in keys for raw in reversed(client.lrange(key, 0, -1))]
    return [_browsed(channel, _lying(queue, key, raw)) for key, raw in entries]


def _lying(queue: str, key: str, raw: bytes) -> Delivery:
    return Delivery(tag="", queue=queue, list=key, raw=raw, identity="", attempts=0)


def _browsed(channel: RedisChannel, delivery: Delivery) -> BrowsedMessage:
    try:
        payload = unpack(delivery, channel.connection.address.authority, "")
        return BrowsedMessage(payload, channel, delivery, damaged=False)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        payload = {
            "body": delivery.raw.decode(errors="replace"),
            "headers": _headers(delivery.raw) or {QUARANTINE_HEADER: f"damaged: {error}"[:500]},
            "properties": {"delivery_tag": ""},
        }
        return BrowsedMessage(payload, channel, delivery, damaged=True)


def _headers(raw: bytes) -> dict[str, Any]:
    """The headers of an envelope that cannot be opened, where it has some that tell anything."""
    try:
        headers = json.loads(raw)["headers"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return {}
    return dict(headers) if isinstance(headers, dict) else {}
