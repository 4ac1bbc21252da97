"""What becomes of a message: decided here, and done here, exactly once for each."""

from __future__ import annotations

import logging
import time
from typing import Any

from kombu import Producer, Queue

from worker_kernel import (
    QUARANTINE_HEADER,
    QUARANTINE_SUFFIX,
    QUARANTINED_AT_HEADER,
    Outcome,
    OutcomeKind,
    TaskOptions,
)

from .courier import KEPT_PROPERTIES, Courier
from .request import Fate, Request, State

log = logging.getLogger("worker_loops.settle")


def fate_of(outcome: Outcome, options: TaskOptions) -> Fate:
    """Return what becomes of the message of a run that ended in ``outcome``, once its result is stored."""
    if outcome.fenced:
        return Fate.NONE
    match outcome.kind:
        case OutcomeKind.FAILED:
            if outcome.invalid:
                return Fate.QUARANTINE
            return Fate.ACK if options.acks_on_failure else Fate.DISCARD
        case OutcomeKind.TIMED_OUT:
            return Fate.ACK if options.acks_on_timeout else Fate.REQUEUE
        case OutcomeKind.REJECTED:
            return Fate.REQUEUE if outcome.requeue else Fate.QUARANTINE
        case OutcomeKind.LOST:
            return Fate.REQUEUE if options.reject_on_worker_lost else Fate.ACK
        case OutcomeKind.SUCCEEDED | OutcomeKind.RETRIED | OutcomeKind.IGNORED | OutcomeKind.CANCELLED:
            return Fate.ACK


def settle(request: Request, fate: Fate, reason: str = "") -> bool:
    """Let the request's message meet its fate. The request is settled afterwards, whatever came of it.

    Runs on the loop's thread, which owns the connection.

    Returns:
        Whether the broker is told. False where the message's connection is lost: the broker will deliver it again,
        and whoever remembers the fate can settle it then.
    """
    request.state = State.SETTLED
    generation = request.generation
    if fate is Fate.ACK and generation.alive and not request.acknowledged:
        if generation.acks is None:
            request.message.ack()
        else:
            generation.acks.later(request.message, request.key)
        return True
    if fate is Fate.NONE or (request.acknowledged and fate is not Fate.QUARANTINE):
        return True
    if not generation.alive:
        return False
    courier = generation.courier
    if request.acknowledged:  # the broker has forgotten it, but it shall be kept all the same
        keep_copy(request.message, request.envelope.queue, reason, courier)
    elif fate is Fate.REQUEUE and courier is not None:
        courier.hand_back(request.message, request.envelope.queue, request.attempts)
    else:
        settle_message(request.message, fate, request.envelope.queue, reason, courier)
    return True


def settle_message(message: Any, fate: Fate, queue: str, reason: str, courier: Courier | None) -> None:
    """Let a kombu message meet its fate.

    Args:
        message: the message.
        fate: what becomes of it.
        queue: where it was taken from.
        reason: with QUARANTINE: why.
        courier: what sends its copy, on brokers where that takes a connection of its own.
    """
    match fate:
        case Fate.ACK:
            message.ack()
        case Fate.REQUEUE:
            message.requeue()
        case Fate.RETURN:  # where the transport can count the start
            getattr(message, "return_started", message.requeue)()
        case Fate.DISCARD:
            message.reject()
        case Fate.QUARANTINE:
            quarantine(message, queue, reason, courier)
        case Fate.NONE:
            pass


def queue_of(message: Any) -> str:
    """Return the queue that a message was taken from, as far as it tells: with the default exchange its routing key."""
    return str(getattr(message, "queue", None) or (message.delivery_info or {}).get("routing_key") or "celery")


def quarantine(message: Any, queue: str, reason: str, courier: Courier | None = None) -> None:
    """Move a message, as it came, to ``<queue>.quarantine`` with the reason in a header.

    Where the transport cannot do that in one step the copy is published first: a crash in between leaves two.
    """
    own = getattr(message, "quarantine", None)
    if own is not None:
        own(reason)
        return
    keep_copy(message, queue, reason, courier)
    message.ack()


def keep_copy(message: Any, queue: str, reason: str, courier: Courier | None) -> None:
    """Publish a copy of a message, as it came, to ``<queue>.quarantine`` with the reason in a header."""
    place = Queue(queue + QUARANTINE_SUFFIX)
    headers = {QUARANTINE_HEADER: reason, QUARANTINED_AT_HEADER: time.time()}
    if courier is not None:
        courier.declare(place)
        courier.send(message, place.name, headers=headers)
        return
    properties = {name: message.properties[name] for name in KEPT_PROPERTIES if name in message.properties}
    with Producer(message.channel, auto_declare=False) as producer:
        producer.publish(
            getattr(message, "raw_body", message.body),
            routing_key=place.name,
            declare=[place],
            headers={**(message.headers or {}), **headers},
            content_type=message.content_type or "application/data",
            content_encoding=message.content_encoding or "binary",
            **properties,
        )
