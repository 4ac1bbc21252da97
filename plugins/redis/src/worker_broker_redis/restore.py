"""Bringing back what nobody holds any more."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

from worker_kernel import QUARANTINE_SUFFIX

from .queues import SURVEYED, Move, redelivered

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
    count = 0
    while True:
        found = queues.survey(link)
        # What is ours we have not abandoned, though our lease may have run out just now: we go on with it.
        abandoned = [one for one in found if one.owner != queues.nonce]
        abandoned.sort(key=_age, reverse=True)  # the oldest is taken first: it is pushed last
        if abandoned:
            late = queues.move(link, [move for one in abandoned for move in restored(one, channel)])
            count += len({one.tag for one in abandoned} - late)
        if len(found) < SURVEYED or not abandoned:
            break
    if count:
        log.warning("%d message(s) of consumers that are gone are back in their queues", count)
    return count


def restored(one: Abandoned, channel: RedisChannel) -> list[Move]:
    """Where an abandoned message goes: to the consuming end of its queue, marked as redelivered, attempts kept.

    A record of ours names the queue itself, one of kombu's the exchange and the routing key; where these lead to
    several queues, each gets a copy, because there is no telling which of them it came from.
    """
    try:
        message, exchange, routing_key = json.loads(one.value)
        queues = _queues_of(channel, exchange, routing_key)
        raw: Any = redelivered(message)
        priority = channel._get_message_priority(message)  # noqa: SLF001  # kombu's, for its subclasses
        places = [channel.key(queue, priority) for queue in queues]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        log.error("a record of a message in hand cannot be read, and goes to quarantine as it is: %s", error)
        raw, places = one.value, [channel.key(UNREADABLE + QUARANTINE_SUFFIX)]
    return [Move(owner=one.owner, tag=one.tag, attempts="keep", list=place, raw=raw) for place in places]


def _queues_of(channel: RedisChannel, exchange: str, routing_key: str) -> list[str]:
    """The queues that a message went to, by what is bound on the server: this process need not know the exchange."""
    table = channel.get_table(exchange) if exchange else []
    bound = {
        queue for key, pattern, queue in table if key == routing_key or (pattern and re.match(pattern, routing_key))
    }
    return sorted(bound) or [routing_key]


def _age(one: Abandoned) -> tuple[int, ...]:
    """Larger for later deliveries of the same owner."""
    return tuple(int(part) for part in one.tag.split(".")[1:] if part.isdecimal()) if one.owner else ()
