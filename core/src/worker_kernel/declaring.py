"""Queues that may exist already: declared where they do not, and taken as they are where they do."""

from __future__ import annotations

import logging
import re
from typing import Any

log = logging.getLogger("worker_kernel.declaring")

REFUSED = (403, 406)
"""AMQP's answers to a declaration that leave open whether there is such a queue: no permission, other arguments."""
QUORUM = "quorum"
CLASSIC = "classic"
_TYPE = re.compile(r"arg 'x-queue-type'.* but current is (?:the value )?'?(\w+)'?")


def declare_queue(connection: Any, queue: Any) -> str:
    """Declare a ``kombu.Queue`` over ``connection``; one that exists with other arguments is used as it is.

    On AMQP each declaration has a channel of its own, because a refusal closes the channel. Other transports have no
    arguments that could differ.

    Returns:
        The queue's type on AMQP: ``classic``, ``quorum``, ..., or ``""`` where the broker did not tell; else ``""``.

    Raises:
        Exception: what the connection raises: it is lost, or there is no such queue and none may be made.
    """
    if connection.transport.driver_type != "amqp":
        with connection.channel() as channel:
            queue.bind(channel).declare()
        return ""
    try:
        with connection.channel() as channel:
            queue.bind(channel).declare()
    except connection.channel_errors as exc:
        if getattr(exc, "reply_code", None) not in REFUSED:
            raise
        refusal = exc
    else:
        return str((queue.queue_arguments or {}).get("x-queue-type", CLASSIC))
    try:
        with connection.channel() as channel:
            channel.queue_declare(queue.name, passive=True)
    except connection.channel_errors as exc:
        raise refusal from exc
    log.info("queue %s is used as it is: %s", queue.name, refusal)
    return _type_in(str(refusal))


def _type_in(refusal: str) -> str:
    """Return the type that RabbitMQ names in its refusal; an argument that is not set is *none*."""
    found = _TYPE.search(refusal)
    if found is None:
        return ""
    return CLASSIC if found[1] == "none" else found[1]
