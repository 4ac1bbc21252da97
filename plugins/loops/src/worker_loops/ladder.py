"""Messages that wait in RabbitMQ: Celery's ladder of queues, in which a message is passed down until its time.

There is one queue for each bit of the delay in whole seconds. A message carries the bits in its routing key; on each
level it either waits for that many seconds or is passed on at once, and at the bottom it goes to its queue. The
exchanges, queues and arguments are those of Celery (kombu's ``native_delayed_delivery``), so both can use one ladder.
"""

from __future__ import annotations

import logging
import math
from typing import Any

from kombu.transport.native_delayed_delivery import (
    calculate_routing_key,
    declare_native_delayed_delivery_exchanges_and_queues,
    level_name,
)

from worker_kernel import ATTEMPTS_HEADER

from .courier import Courier

log = logging.getLogger("worker_loops.ladder")

BITS = 28
LONGEST = 2**BITS - 1
"""Seconds that a message can wait: eight and a half years. A longer wait is taken in several steps."""
BOTTOM = "celery_delayed_delivery"
"""The exchange from which messages go to their queues."""
TOP = BITS - 1
LONGEST_KEY = 255
"""Bytes that a routing key may have."""
WORTH_IT = 10.0
"""Seconds from which a wait is spent on the ladder rather than here."""
CROWDED = 1.0
"""The same while as many messages are held here as may be. The ladder knows whole seconds only."""


class Ladder:
    """The ladder of one broker, declared when it is first needed. Belongs to the loop's thread.

    Errors of the connection are raised as they come, and mean that the generation is lost.
    """

    def __init__(self, courier: Courier, queue_type: str) -> None:
        """Take the connection from ``courier``; ``queue_type`` is that of queues that have to be made."""
        self._courier = courier
        self._queue_type = queue_type
        self._declared = False
        self._bound: set[str] = set()
        self.eager = False
        """Whether every wait of `CROWDED` seconds is worth it: the window cannot be widened for what is held."""

    def takes(self, queue: str, seconds: float, *, crowded: bool) -> bool:
        """Whether a message of ``queue`` that has to wait is to wait on the ladder."""
        if len(queue.encode()) + 2 * BITS > LONGEST_KEY:
            return False
        return seconds >= (CROWDED if crowded or self.eager else WORTH_IT)

    def park(self, message: Any, queue: str, seconds: float, attempts: int) -> None:
        """Let a kombu message wait for ``seconds``, rounded up, and then come back to ``queue``; here it is settled."""
        self.bind(queue)
        delay = max(1, min(math.ceil(seconds), LONGEST))
        key = calculate_routing_key(delay, queue)
        top = level_name(TOP)
        self._courier.send(message, key, exchange=top, headers={ATTEMPTS_HEADER: attempts})
        message.ack()

    def bind(self, queue: str) -> None:
        """Let messages that come off the ladder reach ``queue``."""
        self._declare()
        if queue in self._bound:
            return
        with self._courier.connection.channel() as channel:
            # One star for each bit: with Celery's "#" the queue "b" would also get what is for the queue "a.b".
            channel.queue_bind(queue, exchange=BOTTOM, routing_key="*." * BITS + queue)
        self._bound.add(queue)

    def _declare(self) -> None:
        if self._declared:
            return
        connection = self._courier.connection
        try:
            declare_native_delayed_delivery_exchanges_and_queues(connection, self._queue_type)
        except connection.channel_errors as exc:
            if getattr(exc, "reply_code", None) != 406:
                raise
            log.info("the queues of delayed messages are used as they are: %s", exc)
        self._declared = True
