"""How much lies in queues, as far as a broker tells without taking anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class QueueDepth:
    """What lies in some queues, in nobody's hands."""

    ready: int
    """Messages that could be delivered now."""
    oldest: Mapping[str, object]
    """By queue what names the message that is next, and no other; only queues that have one, and brokers that tell."""


def queue_depth(connection: Any, queues: Iterable[str]) -> QueueDepth:
    """Ask over a kombu connection, which stays open. A queue that does not exist has nothing.

    Messages that wait for their time are not counted where the transport can tell them apart (``ready_count``). May
    block, and raises what the connection raises.
    """
    total = 0
    oldest: dict[str, object] = {}
    for name in queues:
        try:
            with connection.channel() as channel:  # one each: a queue that does not exist costs its channel
                ready = getattr(channel, "ready_count", None)
                total += int(channel.queue_declare(name, passive=True).message_count if ready is None else ready(name))
                oldest_in = getattr(channel, "oldest", None)
                token = None if oldest_in is None else oldest_in(name)
                if token is not None:
                    oldest[name] = token
        except connection.channel_errors:
            continue
    return QueueDepth(ready=total, oldest=oldest)
