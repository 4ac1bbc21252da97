"""Bringing back what nobody holds any more."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from .queues import QUARANTINE_SUFFIX, Move, redelivered

if TYPE_CHECKING:
    from .channel import RedisChannel
    from .link import Link
    from .queues import Abandoned, Queues

log = logging.getLogger("worker_broker_redis")

UNREADABLE = "unreadable"
"""The queue in whose quarantine a record ends that does not say where it came from."""


def restore(queues: Queues, link: Link, channel: RedisChannel) -> int:
    """Return what dead connections of ours held, and what anybody held past the visibility timeout.

    Messages that have found a holder meanwhile, or whose owner has come back to life, stay where they are.

    Returns:
        How many messages are back in their queues.
    """
    moves = [restored(one, channel) for one in reversed(queues.survey(link))]
    if not moves:
        return 0
    count = len(moves) - len(queues.move(link, moves))
    if count:
        log.warning("%d message(s) of consumers that are gone are back in their queues", count)
    return count


def restored(one: Abandoned, channel: RedisChannel) -> Move:
    """Where an abandoned message goes: to the consuming end of its queue, marked as redelivered, attempts kept.

    A record of kombu's names exchange and routing key, one of ours the queue itself; where a record of kombu's fits
    several queues, the message goes to the first: it was in one queue only.
    """
    try:
        message, exchange, routing_key = json.loads(one.value)
        queue = sorted(channel._lookup(exchange, routing_key))[0]  # noqa: SLF001  # kombu's, for its subclasses
        raw: Any = redelivered(message)
        place = channel.key(queue, channel._get_message_priority(message))  # noqa: SLF001  # the same
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        log.error("a record of a message in hand cannot be read, and goes to quarantine as it is: %s", error)
        raw, place = one.value, channel.key(UNREADABLE + QUARANTINE_SUFFIX)
    return Move(owner=one.owner, tag=one.tag, attempts="keep", list=place, raw=raw)
