"""The quarantine of a queue, seen by its operator: ``<queue>.quarantine``, read by headers alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import attrs
from kombu import Producer, Queue
from kombu.exceptions import OperationalError

from ..errors import BrokerUnavailable
from ..lazybody import keep_compressed

SUFFIX = ".quarantine"
REASON = "x-kernel-quarantine"
SINCE = "x-kernel-quarantined-at"
ATTEMPTS = "x-kernel-attempts"
OWN_HEADERS = frozenset({REASON, SINCE, ATTEMPTS, "x-delivery-count", "x-death"})
"""What is not sent again: a message that is retried has never been started."""
PROPERTIES = ("correlation_id", "reply_to", "priority", "delivery_mode", "message_id")
BEGINNING = 200
"""Bytes of the body that `Entry.detail` shows."""


@attrs.define(eq=False)
class Entry:
    """One message in quarantine, held by us until it is put back, sent again or dropped."""

    queue: str
    """The queue that it was put aside from."""
    message: Any
    """The kombu message."""

    @property
    def headers(self) -> Mapping[str, Any]:
        """All of its headers."""
        return self.message.headers if isinstance(self.message.headers, Mapping) else {}

    @property
    def properties(self) -> Mapping[str, Any]:
        """Its properties."""
        return self.message.properties if isinstance(self.message.properties, Mapping) else {}

    @property
    def id(self) -> str | None:
        """The task's id, as far as headers tell; None: they do not."""
        for found in (self.headers.get("id"), self.properties.get("correlation_id")):
            if isinstance(found, str) and found:
                return found
        return None

    @property
    def task(self) -> str | None:
        """The task's name; None: the headers do not tell."""
        name = self.headers.get("task")
        return name if isinstance(name, str) else None

    @property
    def reason(self) -> str:
        """Why it was put aside."""
        return str(self.headers.get(REASON, ""))

    @property
    def since(self) -> float | None:
        """When it was put aside, in seconds since the epoch; None: whoever did it has not said."""
        since = self.headers.get(SINCE)
        return float(since) if isinstance(since, (int, float)) else None

    def age_in_words(self) -> str:
        """Return how long it has been here: ``12 s``, ``3 min``, ``5 h``, ``2 d``; ``-`` where that is not known."""
        if self.since is None:
            return "-"
        age = max(0.0, time.time() - self.since)
        for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
            if age >= length:
                return f"{age / length:.0f} {unit}"
        return f"{age:.0f} s"

    def summary(self) -> dict[str, object]:
        """Return one row, JSON-safe."""
        return {"id": self.id, "task": self.task, "queue": self.queue, "since": self.since, "reason": self.reason}

    def detail(self) -> dict[str, object]:
        """Return all that is known without decoding the body."""
        body = self.body if isinstance(self.body, str) else bytes(self.body).decode(errors="replace")
        return {
            **self.summary(),
            "content_type": self.message.content_type,
            "content_encoding": self.message.content_encoding,
            "headers": dict(self.headers),
            "properties": dict(self.properties),
            "body_length": len(self.body),
            "body_begins": body[:BEGINNING],
        }

    @property
    def body(self) -> Any:
        """The body as it came, compressed where it is."""
        raw = getattr(self.message, "raw_body", self.message.body)
        return b"" if raw is None else raw


class Quarantine:
    """Takes every message of some quarantines into its hands, one after the other, and lets a caller decide.

    What is not sent again or dropped goes back when the connection ends, however it ends. A context manager.
    """

    def __init__(self, connection: Any, queues: Sequence[str], shown_url: str) -> None:
        """Remember where to look; nothing is connected before `each`."""
        self._connection = connection
        self._queues = queues
        self._shown_url = shown_url
        self._channel: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.release()

    def each(self, visit: Callable[[Entry], object]) -> None:
        """Show each message to ``visit``, which calls `retry` or `drop` for it or leaves it as it is.

        Raises:
            BrokerUnavailable: the broker cannot be reached, or refuses.
        """
        troubles = (OperationalError, OSError, *self._connection.connection_errors, *self._connection.channel_errors)
        try:
            for queue in self._queues:
                self._each_of(queue, visit)
        except troubles as exc:
            raise BrokerUnavailable(
                f"the broker {self._shown_url} cannot be reached: {type(exc).__name__}: {exc}\n"
                "check that it runs, and -b"
            ) from exc

    def _each_of(self, queue: str, visit: Callable[[Entry], object]) -> None:
        count = self._size(queue + SUFFIX)
        if not count:
            return
        # One channel for all: what is fetched is not given back before each has been seen once.
        with self._connection.channel() as channel:
            keep_compressed(channel)
            self._channel = channel
            place = Queue(queue + SUFFIX, channel=channel)
            kept = []
            for _ in range(count):
                message = place.get(no_ack=False)
                if message is None:
                    break
                entry = Entry(queue=queue, message=message)
                visit(entry)
                if not message.acknowledged:
                    kept.append(message)
            for message in kept:
                message.requeue()

    def _size(self, name: str) -> int:
        try:
            with self._connection.channel() as channel:  # one of its own: a queue that does not exist costs its channel
                return int(channel.queue_declare(name, passive=True).message_count)
        except self._connection.channel_errors:
            return 0

    def retry(self, entry: Entry) -> None:
        """Send a message to its queue again, then take it out of the quarantine.

        Both go over one channel, in this order: what is not sent is not taken out.
        """
        message = entry.message
        properties = {name: entry.properties[name] for name in PROPERTIES if entry.properties.get(name) is not None}
        with Producer(self._channel, auto_declare=False) as producer:
            producer.publish(
                entry.body,
                routing_key=entry.queue,
                declare=[Queue(entry.queue)],
                headers={name: value for name, value in entry.headers.items() if name not in OWN_HEADERS},
                content_type=message.content_type or "application/data",
                content_encoding=message.content_encoding or "binary",
                **properties,
            )
        message.ack()

    def drop(self, entry: Entry) -> None:
        """Throw a message away."""
        entry.message.ack()
