"""Sending messages: connections that are kept for the next one, retries, and what goes wrong."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import kombu
from kombu.exceptions import OperationalError

from ..declaring import declare_queue
from ..errors import BrokerUnavailable, KernelError
from .message import WireMessage, check_names

IDLE_LIMIT = 10
"""Connections kept for the next message; more exist only while more threads send at the same moment."""
POLICY: Mapping[str, float | None] = {
    "max_retries": 3,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 1,
}
"""How sending is tried again, in kombu's words; intervals in seconds, ``max_retries`` None is without end."""


class Publisher:
    """Sends messages to one broker. Thread-safe and fork-safe.

    A connection serves one thread at a time; one on which sending failed is closed, never used again. Connections
    that were open at a fork are left to the parent.
    """

    def __init__(
        self, connect: Callable[[], Any], shown_url: Callable[[], str], queue: Callable[[str], Any] | None = None
    ) -> None:
        """Remember how to connect; nothing is opened.

        Args:
            connect: returns a new, unconnected ``kombu.Connection``.
            shown_url: returns the broker's URL for error messages, with passwords masked.
            queue: returns the ``kombu.Queue`` of a name; None: `default_queue`.
        """
        self._connect = connect
        self._shown_url = shown_url
        self._queue_of = queue or default_queue
        self._begin()
        self._left_to_parent: list[Any] = []

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[Any] = []
        self._queues: dict[str, Any] = {}

    def publish(
        self,
        message: WireMessage,
        queue: str,
        *,
        policy: Mapping[str, float | None] | None,
        declare: bool = True,
    ) -> None:
        """Send ``message`` to ``queue``, which is declared where it does not exist.

        Args:
            message: what to send.
            queue: its name; the default exchange is used.
            policy: what to change in `POLICY`; None: try once.
            declare: False for a queue that is somebody else's; what is sent to one that is gone is lost.

        Raises:
            BrokerUnavailable: the broker cannot be reached, or refused it; the message may or may not have arrived.
            TypeError: the policy has an unknown key.
        """
        if policy is not None:
            check_names("key of a retry policy", policy, POLICY)
        properties = dict(message.properties)
        priority, expiration = properties.pop("priority", 0), properties.pop("expiration", None)
        producer, used = self._take()
        try:
            declared = self._declared(producer, queue, again=policy is not None) if declare else []

            def send(retry_policy: Mapping[str, float | None] | None) -> None:
                producer.publish(
                    message.body,
                    routing_key=queue,
                    exchange="",
                    declare=declared,
                    content_type=message.content_type,
                    content_encoding=message.content_encoding,
                    headers=dict(message.headers),
                    compression=message.compression,
                    priority=priority,
                    expiration=expiration,
                    retry=retry_policy is not None,
                    retry_policy=retry_policy,
                    **properties,
                )

            retry_policy = None if policy is None else {**POLICY, **policy}
            if retry_policy is not None and used:
                try:
                    send(None)  # as a rule the connection still stands: kombu's retries take longer than the message
                except producer.connection.recoverable_connection_errors:
                    send(retry_policy)
            else:
                send(retry_policy)
        except BaseException as exc:
            self._discard(producer)
            if isinstance(exc, self._troubles(producer)):
                raise BrokerUnavailable(
                    f"the broker {self._shown_url()} did not take a message for queue {queue!r}: "
                    f"{type(exc).__name__}: {exc}\ncheck that it runs, and broker_url (KERNEL_BROKER_URL, -b)"
                ) from exc
            raise
        self._give_back(producer)

    def close(self) -> None:
        """Close the idle connections. Idempotent; the next message opens one again."""
        with self._mine():
            idle, self._idle = self._idle, []
        for producer in idle:
            self._discard(producer)

    def _mine(self) -> threading.Lock:
        if self._pid != os.getpid():
            # A forked child has one thread, and its parent may have held the lock. What the parent had open must
            # not be closed here, not even by the garbage collector: it shares the parent's sockets.
            self._left_to_parent.extend(self._idle)
            self._begin()
        return self._lock

    def _take(self) -> tuple[Any, bool]:
        """Return what sends, and whether it has done so before."""
        with self._mine():
            if self._idle:
                return self._idle.pop(), True
        return kombu.Producer(self._connect()), False

    def _give_back(self, producer: Any) -> None:
        with self._mine():
            if len(self._idle) < IDLE_LIMIT:
                self._idle.append(producer)
                return
        self._discard(producer)

    def _discard(self, producer: Any) -> None:
        troubles = (*self._troubles(producer), AttributeError)
        with contextlib.suppress(*troubles):  # it is broken: that is why it goes
            producer.connection.release()

    def _queue(self, name: str) -> Any:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = self._queue_of(name)
        return queue

    def _declared(self, producer: Any, name: str, *, again: bool) -> list[Any]:
        """Return what kombu is to declare with the message: nothing on Redis, where a list begins with what is put in.

        Nothing on AMQP either, where the queue may be of another type: there it is declared here, once for each
        connection. A connection that is lost is left to kombu's retries, where there are to be any.
        """
        connection = producer.connection
        kind = connection.transport.driver_type
        if kind != "amqp":
            return [] if kind == "redis" else [self._queue(name)]
        known = connection.declared_entities
        if name not in known:
            try:
                declare_queue(connection, self._queue(name))
            except connection.recoverable_connection_errors:
                if not again:
                    raise
                return [self._queue(name)]
            known.add(name)
        return []

    def _troubles(self, producer: Any) -> tuple[type[BaseException], ...]:
        connection = producer.connection
        declared = () if connection is None else (*connection.connection_errors, *connection.channel_errors)
        return tuple(kind for kind in (OperationalError, OSError, *declared) if not issubclass(kind, KernelError))


def default_queue(name: str, queue_type: str | None = None) -> Any:
    """Return the ``kombu.Queue`` of that name on the default exchange: durable, bound to nothing else.

    Args:
        name: its name.
        queue_type: RabbitMQ's ``x-queue-type``; None and ``classic``: not said, as Celery does.
    """
    arguments = None if queue_type in (None, "classic") else {"x-queue-type": queue_type}
    return kombu.Queue(name, exchange=kombu.Exchange(""), routing_key=name, durable=True, queue_arguments=arguments)
