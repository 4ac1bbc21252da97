"""Waiting in the broker: a message that is parked costs neither memory nor a place in the window here."""

from __future__ import annotations

from .request import Request

PARK_FROM = 1.0
"""Seconds from which a wait is spent in a broker that can park messages by itself."""


def park(request: Request, seconds: float, *, crowded: bool) -> bool:
    """Leave a message that has to wait to the broker, where that can be and is worth it; whether it was left.

    Args:
        request: whose message.
        seconds: how long it has to wait (> 0).
        crowded: whether as many messages are held here as may be: then short waits are worth it, too.
    """
    own = getattr(request.message, "park", None)
    if own is not None:
        if seconds >= PARK_FROM:
            own(seconds)
        return bool(seconds >= PARK_FROM)
    ladder, queue = request.generation.ladder, request.envelope.queue
    if ladder is None or not ladder.takes(queue, seconds, crowded=crowded):
        return False
    ladder.park(request.message, queue, seconds, request.attempts)
    return True
